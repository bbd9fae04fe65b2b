"""The images with which an exported file is calibrated and compared."""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy

import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from torch import Tensor
from torch.utils.data import ConcatDataset

from mmdensenet.datasets.class_lists import ClassList, class_lists
from mmdensenet.datasets.wrappers import leaf_configs, leaves
from mmdensenet.errors import UserError

from .config_data import require_data
from .inference import Inferencer

Target = dict[str, Tensor]
#: images at once
BATCH = 16


class ExportImages:
    """Images as a pipeline leaves them, (C, H, W), each with its ``gt_label`` or ``gt_score`` where it has one.

    ``lists_of_classes`` are those of the data sets that have labels.
    """

    def __init__(
        self,
        items: Sequence,
        read: Callable[[object], tuple[Tensor, Target]],
        lists_of_classes: Sequence[ClassList] = (),
    ):
        self.items, self.read, self.lists_of_classes = items, read, lists_of_classes

    def __len__(self) -> int:
        return len(self.items)

    def pixels(self, index: int) -> Tensor:
        return self.read(self.items[index])[0]

    def lists(self, count: int) -> Iterator[list[tuple[Tensor, Target]]]:
        """``count`` evenly spaced ones, in lists of up to ``BATCH``, each image in its own size."""
        places = np.unique(np.linspace(0, len(self) - 1, min(count, len(self))).round().astype(int))
        for start in range(0, len(places), BATCH):
            yield [self.read(self.items[i]) for i in places[start : start + BATCH]]

    def batches(self, count: int) -> Iterator[tuple[Tensor, list[Target]]]:
        """Yield ``count`` evenly spaced images of one size, as batches and targets."""
        for pairs in self.lists(count):
            sizes = {tuple(pixels.shape) for pixels, _ in pairs}
            if len(sizes) > 1:
                raise UserError(
                    f'the test pipeline gives images of several sizes, among them {sorted(sizes)[:2]}: '
                    'give `input_size`.'
                )
            yield torch.stack([pixels for pixels, _ in pairs]), [target for _, target in pairs]


def images_of_folder(model: BaseModel, folder: str, pipeline: list | None = None) -> ExportImages:
    """The images of a folder, without labels, through the test pipeline or another one.

    Raises:
        UserError: if there are none.
    """
    inferencer = Inferencer(model, device='cpu')
    if pipeline is not None:
        inferencer.use_pipeline(pipeline, inferencer.channels, inferencer.wants_bgr)
    return ExportImages(inferencer._inputs_to_list(folder), lambda image: (inferencer.prepare(image)['inputs'], {}))


def images_of_data_set(cfg: Config, loader: str, pipeline: list | None = None, unwrapped: bool = False) -> ExportImages:
    """The images of a data loader's data set, through its own pipeline or another one.

    Args:
        unwrapped: without what is around the data set, such as RepeatDataset, so that none comes twice.

    Raises:
        UserError: if the config has no such data loader, or its data are not there.
    """
    from mmpretrain.registry import DATASETS

    if cfg.get(loader) is None:
        raise UserError(f'the config has no {loader}.')
    require_data(cfg, loader)
    settings = deepcopy(cfg[loader].dataset)
    for _, leaf in leaf_configs(settings) if pipeline is not None else ():
        leaf['pipeline'] = deepcopy(pipeline)
    dataset = DATASETS.build(settings)
    classes = class_lists(dataset, f'{loader}.dataset')
    if unwrapped:
        dataset = ConcatDataset(leaves(dataset))

    def read(index: int) -> tuple[Tensor, Target]:
        item = dataset[index]
        sample = item['data_samples']
        return item['inputs'], {key: sample.get(key) for key in ('gt_label', 'gt_score') if key in sample}

    return ExportImages(range(len(dataset)), read, classes)
