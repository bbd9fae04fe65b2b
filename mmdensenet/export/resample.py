"""Resizing and cropping inside a graph, with the arithmetic of OpenCV or Pillow on bytes.

The size of what comes out is known when the graph is made, that of what goes in only when it runs. So no tensor is
resized and then cropped: each pixel of the result looks up what it is made of.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

#: bits of the weights of OpenCV's fixed-point arithmetic: 11
FIXED = 2048
#: of the cubic kernel, in OpenCV and Pillow
CUBIC = {'cv2': -0.75, 'pillow': -0.5}
INTERPOLATIONS = ('bilinear', 'bicubic')
_LOADING = ('LoadImageFromFile', 'mmdensenet.LoadImage', 'mmdensenet.LoadGreyImage')


class NotInGraphError(ValueError):
    """What of a test pipeline has no equal inside a graph; the message names the step."""


@dataclass
class ResizeAndCrop:
    """A resize, of which a crop of ``size`` (height, width) around the centre is left.

    Attributes:
        scale: of the resized image: (height, width), or the length of the short edge, which keeps the proportions, or
            None for no resize.
        interpolation: 'bilinear' or 'bicubic'.
        backend: the library whose resize it is, 'cv2' or 'pillow'.
        size: None until it is known.
    """

    scale: tuple[int, int] | int | None = None
    interpolation: str = 'bilinear'
    backend: str = 'cv2'
    size: tuple[int, int] | None = None


def resizes_and_crops(pipeline: Sequence[Mapping[str, Any]]) -> list[ResizeAndCrop]:
    """What a test pipeline does between loading and packing.

    Raises:
        NotInGraphError: naming the step that cannot be in a graph.
    """
    found: list[ResizeAndCrop] = []
    for index, step in enumerate(pipeline):
        kind = step['type']
        where = f'{kind} (step {index + 1} of the test pipeline)'
        if is_at_an_end(step):
            continue
        if kind == 'CenterCrop':
            if step.get('efficientnet_style'):
                raise NotInGraphError(f'{where}: efficientnet_style')
            if not found:
                raise NotInGraphError(f'{where}: without a resize before it, images may be smaller than the crop')
            width, height = _pair(step['crop_size'])
            size = (height, width)
            if found[-1].size is not None:
                found.append(ResizeAndCrop())
            before = found[-1].scale if len(found) == 1 or found[-1].scale else found[-2].size
            if any(crop > edge for crop, edge in zip(size, (before, before) if isinstance(before, int) else before)):
                raise NotInGraphError(f'{where}: it is larger than what the resize before it gives')
            found[-1].size = size
        elif kind in ('ResizeEdge', 'Resize'):
            found.append(_resize(step, where))
        else:
            raise NotInGraphError(where)
    for each in found:
        if each.size is None:
            raise NotInGraphError('a ResizeEdge without a CenterCrop after it gives images of several sizes')
    return found


def is_at_an_end(step: Mapping[str, Any]) -> bool:
    """Whether it loads or packs, which the caller of a graph does."""
    return step['type'] == 'PackInputs' or step['type'] in _LOADING


def _resize(step: Mapping[str, Any], where: str) -> ResizeAndCrop:
    interpolation, backend = step.get('interpolation', 'bilinear'), step.get('backend', 'cv2')
    if interpolation not in INTERPOLATIONS or backend not in CUBIC:
        raise NotInGraphError(f'{where}: {interpolation!r} with {backend!r}')
    if step['type'] == 'ResizeEdge':
        if step.get('edge', 'short') != 'short':
            raise NotInGraphError(f'{where}: edge={step["edge"]!r}, of which the crop may find too little')
        return ResizeAndCrop(step['scale'], interpolation, backend)
    if step.get('keep_ratio') or step.get('scale') is None:
        raise NotInGraphError(f'{where}: keep_ratio' if step.get('keep_ratio') else f'{where}: scale_factor')
    width, height = _pair(step['scale'])
    return ResizeAndCrop((height, width), interpolation, backend, (height, width))


def _pair(value: Any) -> tuple[int, int]:
    """(width, height), as configs give it."""
    return (int(value), int(value)) if isinstance(value, int) else (int(value[0]), int(value[1]))


class Resample(nn.Module):
    """uint8 images (N, H, W, C) of any size to (N, H', W', C), float32 with the values of bytes.

    Bilinear pixels are those of ``cv2.resize``, to the bit. Cubic ones, and those of 'pillow', may be one grey level
    off.
    """

    def __init__(self, step: ResizeAndCrop):
        super().__init__()
        self.step = step
        for name, length in zip(('rows', 'columns'), step.size):
            self.register_buffer(name, torch.arange(length))

    def forward(self, images: Tensor) -> Tensor:
        given = tuple(torch.scalar_tensor(images.shape[axis], dtype=torch.int64) for axis in (1, 2))
        resized = self._resized(*given)
        places = tuple(
            at + _half(full - wanted) for at, full, wanted in zip((self.rows, self.columns), resized, self.step.size)
        )
        if self.step.scale is None:
            return images.index_select(1, places[0]).index_select(2, places[1]).float()
        if self.step.backend == 'pillow':
            return self._pillow(images, given, resized, places)
        return self._cv2(images, given, resized, places)

    def _resized(self, height: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
        """Height and width between resize and crop."""
        scale = self.step.scale
        if scale is None:
            return height, width
        if not isinstance(scale, int):
            return tuple(torch.full_like(height, length) for length in scale)
        edge = torch.minimum(height, width)
        return _quotient(height * scale, edge), _quotient(width * scale, edge)

    def _cv2(self, images: Tensor, given: tuple, resized: tuple, places: tuple) -> Tensor:
        taps = cv2_linear if self.step.interpolation == 'bilinear' else cv2_cubic
        (rows, down), (columns, across) = (taps(p, g, r) for p, g, r in zip(places, given, resized))
        x = images.index_select(1, torch.cat(rows))
        x = sum(x.index_select(2, column).float() * weight.view(1, 1, -1, 1) for column, weight in zip(columns, across))
        weights = [weight.view(1, -1, 1, 1) for weight in down]
        count = len(self.rows)
        parts = [x[:, i * count : (i + 1) * count] for i in range(len(rows))]
        if self.step.interpolation == 'bicubic':
            return torch.round(sum(part * (weight / FIXED**2) for part, weight in zip(parts, weights))).clamp(0, 255)
        # Its vector code drops 4 bits of the row, multiplies and keeps the upper 16 bits. A product has 27 bits, which
        # float32 has not, hence the two halves
        total = sum(_upper_half(torch.floor(part / 16), weight) for part, weight in zip(parts, weights))
        return torch.floor((total + 2) / 4).clamp(0, 255)

    def _pillow(self, images: Tensor, given: tuple, resized: tuple, places: tuple) -> Tensor:
        down, across = (
            pillow_weights(at, old, new, pixels, self.step.interpolation)
            for at, old, new, pixels in zip(places, given, resized, (images[0, :, 0, 0], images[0, 0, :, 0]))
        )
        x = _byte(torch.matmul(across, images.float()))
        return _byte(torch.matmul(down, x.transpose(1, 2)).transpose(1, 2))


def _byte(x: Tensor) -> Tensor:
    return torch.floor(x + 0.5).clamp(0, 255)


def _upper_half(x: Tensor, weight: Tensor) -> Tensor:
    """floor(x * weight / 65536) of integers x below 2^15 and weights to 2^11."""
    high = torch.floor(x / 256)
    return torch.floor((high * weight + torch.floor((x - high * 256) * weight / 256)) / 256)


def _half(x: Tensor) -> Tensor:
    """Half of it as Python's round(x / 2), of .5 to the even number, and 0 where it is below."""
    return torch.round(x.float() / 2).clamp(min=0).to(torch.int64)


def _quotient(a: Tensor, b: Tensor) -> Tensor:
    """a // b. In floats a quotient below an integer may become it, so it is put right."""
    found = torch.round(a.float() / b.float()).to(torch.int64)
    return found - (found * b > a).to(torch.int64)


def _source(places: Tensor, given: Tensor, resized: Tensor) -> tuple[Tensor, Tensor]:
    """Where in the image the centres of these pixels of the resized one are: the integer below, and what is beyond."""
    at = ((2 * places + 1) * given - resized).float() / (2 * resized).float()
    below = torch.floor(at)
    return below.to(torch.int64), at - below


def cv2_linear(places: Tensor, given: Tensor, resized: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """The two pixels that each is made of, and their weights in 2048ths."""
    below, beyond = _source(places, given, resized)
    weight = torch.round(beyond * FIXED)
    return [_clipped(below + i, given) for i in (0, 1)], [FIXED - weight, weight]


def cv2_cubic(places: Tensor, given: Tensor, resized: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """The same of four pixels."""
    below, x = _source(places, given, resized)
    a = CUBIC['cv2']
    weights = [_cubic_far(x + 1, a), _cubic_near(x, a), _cubic_near(1 - x, a)]
    weights.append(1 - weights[0] - weights[1] - weights[2])
    return [_clipped(below + i, given) for i in (-1, 0, 1, 2)], [torch.round(w * FIXED) for w in weights]


def pillow_weights(places: Tensor, given: Tensor, resized: Tensor, pixels: Tensor, interpolation: str) -> Tensor:
    """(places, pixels): how each is made of all pixels, with a kernel that is as wide as the image shrinks."""
    at = torch.cumsum(torch.ones_like(pixels, dtype=torch.float32), 0) - 0.5
    shrink = given.float() / resized.float()
    wide = shrink.clamp(min=1)
    centre = (places.float() + 0.5) * shrink
    x = ((at.view(1, -1) - centre.view(-1, 1)) / wide).abs()
    a = CUBIC['pillow']
    if interpolation == 'bilinear':
        weights = (1 - x).clamp(min=0)
    else:
        weights = torch.where(x < 1, _cubic_near(x, a), torch.where(x < 2, _cubic_far(x, a), torch.zeros_like(x)))
    return weights / weights.sum(1, keepdim=True)


def _cubic_near(x: Tensor, a: float) -> Tensor:
    return ((a + 2) * x - (a + 3)) * x * x + 1


def _cubic_far(x: Tensor, a: float) -> Tensor:
    return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a


def _clipped(places: Tensor, length: Tensor) -> Tensor:
    return torch.minimum(places.clamp(min=0), length - 1)
