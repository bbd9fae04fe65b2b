"""Whether pairs that look alike are one image, by the features of the network that is trained from."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import cv2
import numpy as np
import torch

from mmdensenet.convert.convert import convert_state_dict
from mmdensenet.convert.files import read_checkpoint

from .network import Network

#: images by which it is measured how alike different images are, and copies
REFERENCES = 40
#: quantile of the cosine of any two of them that the limit takes as that of different ones: a few may be copies
HIGH_DIFFERENT = 0.98
#: quantile of the copies' similarity that the limit takes as theirs
LOW_COPY = 0.05
#: height and width at which the images are compared
SIDE = 128
BATCH = 32


@dataclass
class Limit:
    """The cosine from which on two images are duplicates.

    Attributes:
        different: what 98% of the pairs of some forty images stay below.
        copies: what 95% of the copies reach.
    """

    different: float
    copies: float

    @property
    def separates(self) -> bool:
        """Whether the network separates copies from other pairs."""
        return self.different < self.copies

    @property
    def cosine(self) -> float:
        return (self.different + self.copies) / 2

    def to_dict(self) -> dict:
        return asdict(self)


def confirm_pairs(
    pairs: np.ndarray, places: np.ndarray, read: Callable[[int], np.ndarray], network: Network
) -> tuple[np.ndarray, Limit]:
    """Return the pairs that are duplicates.

    Two images are compared by the cosine of their last feature maps, (C, h, w) each, where things stand as well as what
    they are; images are grey and have a mean of 0 and a deviation of 1, as their hashes do not see brightness either.
    Which cosine is enough depends on the network and on the images: radiographs are more alike than photographs. So it
    is measured on the images themselves: it lies in the middle between what 98% of the pairs of some forty of them stay
    below and what 95% of their copies reach, which are saved as JPEG of quality 50, halved in size, or turned by two
    degrees.

    Measured with a DenseNet-BC (L=40, k=12) after one epoch of CIFAR-10: of its images 2,001 pairs of a class reach at
    most 0.83 (99.9%: 0.77), and 19,960 pairs of ImageNet's 0.73. Copies: JPEG 0.87 and 0.96 (5% are below),
    1.2 times as bright 0.89 and 0.90, turned by a degree 0.95 and 0.92, halved 0.74 and 0.86. Of 393 pairs of CIFAR-10
    whose hashes differ in at most four bits 95% reach 0.78, and nearly all of them are one image when looked at. The
    mean over the map in its place (pooled features) is no measure: different images reach 0.989, copies 0.97.

    Args:
        pairs: (M, 2) places of images.
        places: of all images, of which no two are equal files.
        read: gives the image of a place, grey, (H, W).
        network: of :func:`mmdensenet.apis.fit.network.choose_network`, with weights.

    Returns:
        (M,) of bool, all False where the limit does not tell; and the limit.
    """
    side = min(SIDE, network.side)
    features = _Features(network, side)
    references = places[np.unique(np.linspace(0, len(places) - 1, REFERENCES).astype(int))].tolist()
    images = [read(place) for place in references]
    maps = features(images)
    alike = maps @ maps.T
    different = alike[np.triu_indices(len(references), 1)]
    copies = np.concatenate([(maps * features([copy(image) for image in images])).sum(1) for copy in COPIES])
    limit = Limit(float(np.quantile(different, HIGH_DIFFERENT)), float(np.quantile(copies, LOW_COPY)))
    if not limit.separates:
        return np.zeros(len(pairs), bool), limit
    paired = np.unique(pairs)
    maps = np.concatenate(
        [features([read(place) for place in paired[i : i + BATCH]]) for i in range(0, len(paired), BATCH)]
    )
    one, other = (np.searchsorted(paired, pairs[:, k]) for k in (0, 1))
    return (maps[one] * maps[other]).sum(1) >= limit.cosine, limit


class _Features:
    """(N, D) float32 of norm 1 of N grey images."""

    def __init__(self, network: Network, side: int):
        from mmpretrain.registry import MODELS

        converted, _ = convert_state_dict(read_checkpoint(network.load_from), in_channels=1, partial=True)
        self.side = side
        self.device = 'cuda' if torch.cuda.is_available() else 'cpu'
        self.backbone = MODELS.build(dict(network.backbone, in_channels=1))
        own = 'backbone.'
        self.backbone.load_state_dict(
            {key.removeprefix(own): value for key, value in converted.items() if key.startswith(own)}
        )
        self.backbone.to(self.device).eval()

    def __call__(self, images: Sequence[np.ndarray]) -> np.ndarray:
        found = []
        for start in range(0, len(images), BATCH):
            batch = torch.from_numpy(np.stack([self._prepared(image) for image in images[start : start + BATCH]]))
            with torch.no_grad():
                found.append(self.backbone(batch[:, None].to(self.device))[-1].flatten(1).float().cpu().numpy())
        maps = np.concatenate(found)
        return maps / np.maximum(np.linalg.norm(maps, axis=1, keepdims=True), 1e-12)

    def _prepared(self, image: np.ndarray) -> np.ndarray:
        small = cv2.resize(image.astype(np.float32), (self.side, self.side), interpolation=cv2.INTER_AREA)
        return (small - small.mean()) / max(float(small.std()), 1e-6)


def _saved(image: np.ndarray) -> np.ndarray:
    low, high = float(image.min()), float(image.max())
    grey = np.round((image - low) * (255 / max(high - low, 1e-6))).astype(np.uint8)
    return cv2.imdecode(cv2.imencode('.jpg', grey, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], cv2.IMREAD_GRAYSCALE)


def _halved(image: np.ndarray) -> np.ndarray:
    height, width = (max(1, size // 2) for size in image.shape)
    return cv2.resize(image.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)


def _turned(image: np.ndarray) -> np.ndarray:
    height, width = image.shape
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 2, 1)
    return cv2.warpAffine(image.astype(np.float32), turn, (width, height), borderMode=cv2.BORDER_REFLECT)


COPIES = (_saved, _halved, _turned)
