"""Repair faults of mmpretrain's data sets and transforms, when their modules are imported."""

import copy
import functools
from collections.abc import Callable
from types import ModuleType

import numpy as np

from .faults import Fault, wrapping

CLASS_NAMES = Fault(
    what='a file of class names keeps its byte-order mark and empty lines; metainfo.classes may be an unordered set; '
    'metainfo.CLASSES is ignored; names may be numbered differently from the labels',
    versions='mmpretrain 1.2.0',
    until='mmpretrain reads such files correctly, and refuses the rest',
    targets=(
        'mmpretrain.datasets.base_dataset:BaseDataset._compat_classes',
        'mmpretrain.datasets.base_dataset:BaseDataset._load_metainfo',
        'mmpretrain.datasets.base_dataset:BaseDataset.full_init',
    ),
    owner='mmpretrain.datasets.base_dataset',
)
FOLDERS = Fault(
    what='CustomDataset numbers class folders alphabetically whatever metainfo.classes says, refuses a part that '
    'lacks a folder of metainfo.classes, treats hidden folders as classes, and silently skips broken links and images '
    'with extensions that it does not know',
    versions='mmpretrain 1.2.0',
    until='mmpretrain numbers folders by their names in metainfo.classes',
    targets=('mmpretrain.datasets.custom:CustomDataset._find_samples',),
    owner='mmpretrain.datasets.custom',
)


FOLDS = Fault(
    what='KFoldDataset raises around ConcatDataset, RepeatDataset, ClassBalancedDataset and a data set that is '
    'already built; for a fold outside num_splits it uses all images, some twice, or none',
    versions='mmpretrain 1.2.0',
    until='KFoldDataset divides the images of any data set, and refuses folds that do not exist',
    targets=(
        'mmpretrain.datasets.dataset_wrappers:KFoldDataset.__init__',
        'mmpretrain.datasets.dataset_wrappers:KFoldDataset.full_init',
    ),
    owner='mmpretrain.datasets.dataset_wrappers',
)


SEVERAL_TASKS = Fault(
    what='MultiTaskDataset names neither file nor entry of malformed annotations, refuses images without labels, '
    'requires data_root, does not describe its samples, and cannot be repeated or divided; PackMultiTaskInputs drops '
    'the path of an image without labels',
    versions='mmpretrain 1.2.0',
    until='MultiTaskDataset is a BaseDataset, and PackMultiTaskInputs keeps the meta keys',
    targets=(
        'mmpretrain.datasets.multi_task:MultiTaskDataset.load_data_list',
        'mmpretrain.datasets.multi_task:MultiTaskDataset.parse_data_info',
        'mmpretrain.datasets.multi_task:MultiTaskDataset._join_root',
        'mmpretrain.datasets.transforms.formatting:PackMultiTaskInputs.transform',
    ),
    owner='mmpretrain.datasets.multi_task',
)


HYPERPARAMETERS = Fault(
    what='AutoAugment ignores its hparams, such as pad_val and interpolation',
    versions='mmpretrain 1.2.0',
    until='AutoAugment builds its policies with hparams',
    targets=('mmpretrain.datasets.transforms.auto_augment:AutoAugment.__init__',),
    owner='mmpretrain.datasets.transforms.auto_augment',
)
SOLARIZING = Fault(
    what='SolarizeAdd with an integer overflows: values beyond 255 become dark',
    versions='mmpretrain 1.2.0',
    until='SolarizeAdd adds in more than 8 bits',
    targets=('mmpretrain.datasets.transforms.auto_augment:SolarizeAdd.__init__',),
    owner='mmpretrain.datasets.transforms.auto_augment',
)
PADDING_MODE = Fault(
    what='RandomCrop pads with a constant whatever padding_mode says',
    versions='mmpretrain 1.2.0',
    until='RandomCrop passes padding_mode on',
    targets=('mmpretrain.datasets.transforms.processing:RandomCrop.transform',),
    owner='mmpretrain.datasets.transforms.processing',
)
GREY = Fault(
    what='RandomErasing raises for grey images, and GaussianBlur for those of shape (H, W, 1)',
    versions='mmpretrain 1.2.0',
    until='mmpretrain accepts images with one channel',
    targets=(
        'mmpretrain.datasets.transforms.processing:RandomErasing._fill_pixels',
        'mmpretrain.datasets.transforms.auto_augment:GaussianBlur.transform',
    ),
    owner='mmpretrain.datasets.transforms.processing',
)
IN1D = Fault(
    what='RetrievalRecall and RetrievalAveragePrecision call np.in1d, which NumPy has removed',
    versions='mmpretrain 1.2.0 with numpy >= 2.4',
    until='mmpretrain calls np.isin',
    targets=('mmpretrain.evaluation.metrics.retrieval:np',),
    is_repaired=lambda: hasattr(np, 'in1d'),
    owner='mmpretrain.evaluation.metrics.retrieval',
)


@HYPERPARAMETERS.repaired_by
def build_with_hyperparameters() -> None:
    from mmpretrain.datasets.transforms.auto_augment import TRANSFORMS, AutoAugment, RandomChoice

    @wrapping(AutoAugment, '__init__')
    def init_with_hparams(init: Callable, self, *args, **kwargs) -> None:
        init(self, *args, **kwargs)
        RandomChoice.__init__(self, [[TRANSFORMS.build(step) for step in policy] for policy in self.policies])


@SOLARIZING.repaired_by
def add_in_floats() -> None:
    from mmpretrain.datasets.transforms.auto_augment import SolarizeAdd

    @wrapping(SolarizeAdd, '__init__')
    def init_with_float(init: Callable, self, *args, **kwargs) -> None:
        init(self, *args, **kwargs)
        self.magnitude = None if self.magnitude is None else float(self.magnitude)


@PADDING_MODE.repaired_by
def pad_as_said() -> None:
    import mmcv
    from mmpretrain.datasets.transforms.processing import RandomCrop

    @wrapping(RandomCrop, 'transform')
    def transform(old: Callable, self, results: dict) -> dict:
        if self.padding is None or self.padding_mode == 'constant':
            return old(self, results)
        results['img'] = mmcv.impad(
            results['img'], padding=self.padding, pad_val=self.pad_val, padding_mode=self.padding_mode
        )
        padded = copy.copy(self)
        padded.padding = None
        return old(padded, results)


@GREY.repaired_by
def take_grey_images() -> None:
    from mmpretrain.datasets.transforms.auto_augment import GaussianBlur
    from mmpretrain.datasets.transforms.processing import RandomErasing

    from .mmcv import through_colour

    @wrapping(RandomErasing, '_fill_pixels')
    def fill_pixels(fill: Callable, self, img: np.ndarray, *place) -> np.ndarray:
        return through_colour(functools.partial(fill, self), img, *place)

    @wrapping(GaussianBlur, 'transform')
    def transform(blur: Callable, self, results: dict) -> dict:
        img = results['img']
        if img.ndim == 3 and img.shape[2] == 1:
            results['img'] = img[..., 0]
            return {**blur(self, results), 'img': results['img'][..., None]}
        return blur(self, results)


@IN1D.repaired_by
def name_isin_in1d() -> None:
    from mmpretrain.evaluation.metrics import retrieval

    today = ModuleType('numpy')
    today.__dict__.update(vars(np), in1d=np.isin)
    retrieval.np = today
