"""Faults of mmpretrain's data sets and transforms, repaired when somebody imports them."""

import copy
import functools
from types import ModuleType

import mmengine
import numpy as np

from .faults import Fault

CLASS_NAMES = Fault(
    what='a file of classes with a byte-order mark or empty lines gives names with them, metainfo.classes may be a '
    'set, metainfo.CLASSES is passed over, and names may be numbered otherwise than the labels that they are for',
    versions='mmpretrain 1.2.0',
    until='mmpretrain reads such files as others do, and refuses the rest',
    targets=(
        'mmpretrain.datasets.base_dataset:BaseDataset._compat_classes',
        'mmpretrain.datasets.base_dataset:BaseDataset._load_metainfo',
        'mmpretrain.datasets.base_dataset:BaseDataset.full_init',
    ),
    owner='mmpretrain.datasets.base_dataset',
)


@CLASS_NAMES.repaired_by
def read_class_names() -> None:
    from mmengine.dataset import BaseDataset as MMEngineDataset
    from mmpretrain.datasets.base_dataset import BaseDataset

    from mmdensenet.datasets.stated_classes import (
        ClassListError,
        class_names,
        names_in,
        require_names,
        require_own_numbers,
    )

    merge, load, init = BaseDataset._compat_classes, BaseDataset._load_metainfo.__func__, BaseDataset.full_init

    def names_of(given):
        return given if given is None or isinstance(given, (list, tuple)) else class_names(given)

    @functools.wraps(merge)
    def merge_names(self, metainfo, classes) -> dict:
        return merge(self, metainfo, names_of(classes))

    @functools.wraps(load)
    def load_names(cls, metainfo=None) -> dict:
        given = None
        if hasattr(metainfo, 'items'):
            metainfo = dict(metainfo.items())
            given = metainfo.get('classes')
            if 'CLASSES' in metainfo and given is None:
                raise ClassListError('metainfo.CLASSES is not read: the key is `classes`.')
        if given is not None:
            metainfo['classes'] = names_of(given)
            require_names(metainfo['classes'])
            require_own_numbers(metainfo['classes'], cls.METAINFO.get('classes'), cls.__name__)
        return load(cls, metainfo)

    @functools.wraps(init)
    def init_with_own_numbers(self) -> None:
        if self._fully_initialized:
            return
        stated = self._metainfo.get('classes')
        init(self)
        if type(self).load_data_list is not MMEngineDataset.load_data_list:
            return
        # a file of OpenMMLab's form says which classes its labels are for
        written = self._metainfo if stated is None else mmengine.load(self.ann_file)['metainfo']
        own, categories = names_in(written), written.get('categories')
        require_names(written.get('classes') or ())
        if categories is not None:
            named = {category['id']: category['category_name'] for category in categories}
            by_id = tuple(named[number] for number in sorted(named))
            if own in (None, by_id) and sorted(named) != list(range(len(categories))):
                raise ClassListError(
                    f'{self.ann_file}: the ids of its categories are {", ".join(map(str, sorted(named)[:3]))} ..., not '
                    '0, 1, 2 and so on: which labels are they for?'
                )
            own = own or by_id
        if stated is None and own is not None:
            self._metainfo['classes'] = tuple(own)
        elif own is not None:
            require_own_numbers(stated, own, self.ann_file)

    BaseDataset._compat_classes = merge_names
    BaseDataset._load_metainfo = classmethod(load_names)
    BaseDataset.full_init = init_with_own_numbers


FOLDERS = Fault(
    what='CustomDataset numbers class folders in alphabetical order whatever metainfo.classes says, refuses a part '
    'that lacks a folder of metainfo.classes, and takes hidden folders for classes',
    versions='mmpretrain 1.2.0',
    until='mmpretrain numbers folders by their names in metainfo.classes',
    targets=('mmpretrain.datasets.custom:CustomDataset._find_samples',),
    owner='mmpretrain.datasets.custom',
)


@FOLDERS.repaired_by
def number_folders_by_name() -> None:
    from mmpretrain.datasets.custom import CustomDataset

    find = CustomDataset._find_samples

    @functools.wraps(find)
    def find_by_name(self) -> list:
        from mmdensenet.datasets.class_lists import number_folders, require_no_hidden

        if not self.with_label:
            return find(self)
        stated = self._metainfo.pop('classes', None)
        try:
            samples = find(self)
        finally:
            if stated is not None:
                self._metainfo['classes'] = stated
        folders = list(self.folder_to_idx)
        require_no_hidden(folders, self.img_prefix)
        if stated is None:
            return samples
        self.folder_to_idx = number_folders(folders, stated, self.img_prefix)
        return [(path, self.folder_to_idx[folders[label]]) for path, label in samples]

    CustomDataset._find_samples = find_by_name


SEVERAL_TASKS = Fault(
    what='MultiTaskDataset names neither the file nor the entry of malformed annotations, refuses images without '
    'labels, raises without data_root and does not describe its samples; PackMultiTaskInputs drops the path of an '
    'image without labels',
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


@SEVERAL_TASKS.repaired_by
def describe_images_of_several_tasks() -> None:
    from mmpretrain.datasets.multi_task import MultiTaskDataset
    from mmpretrain.datasets.transforms.formatting import PackMultiTaskInputs

    load, parse, join = MultiTaskDataset.load_data_list, MultiTaskDataset.parse_data_info, MultiTaskDataset._join_root
    pack = PackMultiTaskInputs.transform

    @functools.wraps(load)
    def load_or_explain(self, *args, **kwargs) -> list[dict]:
        from mmdensenet.datasets.annotations import explain

        try:
            data_list = load(self, *args, **kwargs)
            if data_list and all(isinstance(item['gt_label'], dict) for item in data_list):
                return data_list
            raise TypeError('a gt_label is no dict' if data_list else 'it lists no images')
        except Exception as error:
            explained = explain(self, error)
            if explained is None:
                raise
            raise explained from error

    @functools.wraps(parse)
    def parse_without_labels(self, raw_data) -> dict:
        return parse(self, dict(gt_label={}, **raw_data) if 'gt_label' not in raw_data else raw_data)

    @functools.wraps(join)
    def join_if_root(self, path):
        return path if self.data_root is None else join(self, path)

    @functools.wraps(pack)
    def pack_with_path(self, results: dict) -> dict:
        packed = pack(self, results)
        known = {key: results[key] for key in ('sample_idx', 'img_path') if key in results}
        packed['data_samples'].set_metainfo(known)
        return packed

    MultiTaskDataset.load_data_list = load_or_explain
    MultiTaskDataset.parse_data_info = parse_without_labels
    MultiTaskDataset._join_root = join_if_root
    MultiTaskDataset.get_data_info = lambda self, idx: copy.deepcopy(self.data_list[idx])
    PackMultiTaskInputs.transform = pack_with_path


HYPERPARAMETERS = Fault(
    what='AutoAugment leaves its hparams, such as pad_val and interpolation, out',
    versions='mmpretrain 1.2.0',
    until='AutoAugment builds its policies with hparams',
    targets=('mmpretrain.datasets.transforms.auto_augment:AutoAugment.__init__',),
    owner='mmpretrain.datasets.transforms.auto_augment',
)
SOLARIZING = Fault(
    what='SolarizeAdd with a whole number wraps around: values beyond 255 become dark',
    versions='mmpretrain 1.2.0',
    until='SolarizeAdd adds in more than 8 bits',
    targets=('mmpretrain.datasets.transforms.auto_augment:SolarizeAdd.__init__',),
    owner='mmpretrain.datasets.transforms.auto_augment',
)
PADDING_MODE = Fault(
    what='RandomCrop with padding pads with a constant whatever padding_mode says',
    versions='mmpretrain 1.2.0',
    until='RandomCrop passes padding_mode on',
    targets=('mmpretrain.datasets.transforms.processing:RandomCrop.transform',),
    owner='mmpretrain.datasets.transforms.processing',
)
GREY = Fault(
    what='RandomErasing raises for grey images, and GaussianBlur for those of shape (H, W, 1)',
    versions='mmpretrain 1.2.0',
    until='mmpretrain takes images of one channel',
    targets=(
        'mmpretrain.datasets.transforms.processing:RandomErasing._fill_pixels',
        'mmpretrain.datasets.transforms.auto_augment:GaussianBlur.transform',
    ),
    owner='mmpretrain.datasets.transforms.processing',
)
IN1D = Fault(
    what='RetrievalRecall and RetrievalAveragePrecision call np.in1d, which is gone',
    versions='mmpretrain 1.2.0 with numpy >= 2.4',
    until='mmpretrain calls np.isin',
    targets=('mmpretrain.evaluation.metrics.retrieval:np',),
    is_repaired=lambda: hasattr(np, 'in1d'),
    owner='mmpretrain.evaluation.metrics.retrieval',
)


@HYPERPARAMETERS.repaired_by
def build_with_hyperparameters() -> None:
    from mmpretrain.datasets.transforms.auto_augment import TRANSFORMS, AutoAugment, RandomChoice

    init = AutoAugment.__init__

    @functools.wraps(init)
    def init_with_hparams(self, *args, **kwargs) -> None:
        init(self, *args, **kwargs)
        RandomChoice.__init__(self, [[TRANSFORMS.build(step) for step in policy] for policy in self.policies])

    AutoAugment.__init__ = init_with_hparams


@SOLARIZING.repaired_by
def add_in_floats() -> None:
    from mmpretrain.datasets.transforms.auto_augment import SolarizeAdd

    init = SolarizeAdd.__init__

    @functools.wraps(init)
    def init_with_float(self, *args, **kwargs) -> None:
        init(self, *args, **kwargs)
        self.magnitude = None if self.magnitude is None else float(self.magnitude)

    SolarizeAdd.__init__ = init_with_float


@PADDING_MODE.repaired_by
def pad_as_said() -> None:
    import mmcv
    from mmpretrain.datasets.transforms.processing import RandomCrop

    old = RandomCrop.transform

    @functools.wraps(old)
    def transform(self, results: dict) -> dict:
        if self.padding is None or self.padding_mode == 'constant':
            return old(self, results)
        results['img'] = mmcv.impad(
            results['img'], padding=self.padding, pad_val=self.pad_val, padding_mode=self.padding_mode
        )
        padded = copy.copy(self)
        padded.padding = None
        return old(padded, results)

    RandomCrop.transform = transform


@GREY.repaired_by
def take_grey_images() -> None:
    from mmpretrain.datasets.transforms.auto_augment import GaussianBlur
    from mmpretrain.datasets.transforms.processing import RandomErasing

    from .mmcv import through_colour

    fill, blur = RandomErasing._fill_pixels, GaussianBlur.transform

    @functools.wraps(fill)
    def fill_pixels(self, img: np.ndarray, *place) -> np.ndarray:
        return through_colour(functools.partial(fill, self))(img, *place)

    @functools.wraps(blur)
    def transform(self, results: dict) -> dict:
        img = results['img']
        if img.ndim == 3 and img.shape[2] == 1:
            results['img'] = img[..., 0]
            return {**blur(self, results), 'img': results['img'][..., None]}
        return blur(self, results)

    RandomErasing._fill_pixels = fill_pixels
    GaussianBlur.transform = transform


@IN1D.repaired_by
def name_isin_in1d() -> None:
    from mmpretrain.evaluation.metrics import retrieval

    today = ModuleType('numpy')
    today.__dict__.update(vars(np), in1d=np.isin)
    retrieval.np = today
