"""Repairs of mmengine's and mmpretrain's data sets, which :mod:`mmdensenet.datasets` does.

They stand outside that package, and import it when what they repair is called, since importing it imports mmpretrain's
data sets: that takes seconds, and they are half imported when they are repaired.
"""

import copy
from collections.abc import Callable

import mmengine

from .compat.faults import wrapping
from .compat.mmengine import ANNOTATIONS, CONCATENATING
from .compat.mmpretrain import CLASS_NAMES, FOLDERS, FOLDS, SEVERAL_TASKS
from .errors import NoClassError, UserError


@CLASS_NAMES.repaired_by
def read_class_names() -> None:
    from mmengine.dataset import BaseDataset as MMEngineDataset
    from mmpretrain.datasets.base_dataset import BaseDataset

    def names_of(given):
        from mmdensenet.datasets.stated_classes import class_names

        return given if given is None or isinstance(given, (list, tuple)) else class_names(given)

    @wrapping(BaseDataset, '_compat_classes')
    def merge_names(merge: Callable, self, metainfo, classes) -> dict:
        return merge(self, metainfo, names_of(classes))

    @wrapping(BaseDataset, '_load_metainfo')
    def load_names(load: Callable, cls, metainfo=None) -> dict:
        from mmdensenet.datasets.stated_classes import ClassListError, require_names, require_own_numbers

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

    @wrapping(BaseDataset, 'full_init')
    def init_with_own_numbers(init: Callable, self) -> None:
        from mmdensenet.datasets.stated_classes import ClassListError, names_in, require_names, require_own_numbers

        if self._fully_initialized:
            return
        stated = self._metainfo.get('classes')
        try:
            init(self)
        except (KeyError, TypeError) as error:
            if isinstance(error, UserError) or 'categories' not in self._metainfo:
                raise
            raise ClassListError(
                f'{self.ann_file}: metainfo.categories: it must be a list of dicts with id and category_name.'
            ) from error
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


@FOLDERS.repaired_by
def number_folders_by_name() -> None:
    from mmpretrain.datasets.custom import CustomDataset

    @wrapping(CustomDataset, '_find_samples')
    def find_by_name(find: Callable, self) -> list:
        from mmdensenet.datasets.class_lists import number_folders, require_no_hidden
        from mmdensenet.datasets.left_out import require_all_images
        from mmdensenet.datasets.spelling import require_one_spelling

        require_all_images(self.img_prefix, self.extensions)
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
            require_one_spelling(folders, self.img_prefix)
            return samples
        self.folder_to_idx = number_folders(folders, stated, self.img_prefix)
        return [(path, self.folder_to_idx[folders[label]]) for path, label in samples]


@FOLDS.repaired_by
def divide_images_of_wrappers() -> None:
    from mmengine.dataset import BaseDataset
    from mmpretrain.datasets.dataset_wrappers import KFoldDataset

    @wrapping(KFoldDataset, '__init__')
    def init_checked(init: Callable, self, dataset, fold=0, num_splits=5, *args, **kwargs) -> None:
        from mmdensenet.datasets.divide_images import require_fold

        require_fold(fold, num_splits)
        given = dataset if isinstance(dataset, dict) else dict(type=lambda: dataset)
        init(self, given, fold, num_splits, *args, **kwargs)

    @wrapping(KFoldDataset, 'full_init')
    def divide(full_init: Callable, self) -> None:
        from mmdensenet.datasets.divide_images import count_images, take_images

        if self._fully_initialized:
            return
        whole = self.dataset
        whole.full_init()
        count = count_images(whole)
        if count < self.num_splits:
            raise UserError(f'KFoldDataset: num_splits={self.num_splits}, and there are {count} images to divide.')
        if isinstance(whole, BaseDataset):
            full_init(self)
            return
        self.dataset = _Counted(count)
        full_init(self)
        self._ori_indices.sort()
        self.dataset = take_images(whole, self._ori_indices)


class _Counted:
    """A data set of so many images, of which a KFoldDataset chooses some."""

    def __init__(self, count: int):
        self.count = count

    def __len__(self) -> int:
        return self.count

    def full_init(self) -> None:
        """There is nothing to read."""

    def get_subset(self, indices: list[int]) -> None:
        """The KFoldDataset keeps the indices."""


@SEVERAL_TASKS.repaired_by
def describe_images_of_several_tasks() -> None:
    from mmpretrain.datasets.multi_task import MultiTaskDataset
    from mmpretrain.datasets.transforms.formatting import PackMultiTaskInputs

    @wrapping(MultiTaskDataset, 'load_data_list')
    def load_or_explain(load: Callable, self, *args, **kwargs) -> list[dict]:
        from mmdensenet.datasets.annotations import explain, require_data

        try:
            require_data(str(self.ann_file))
            data_list = load(self, *args, **kwargs)
            if data_list and all(isinstance(item['gt_label'], dict) for item in data_list):
                return data_list
            raise TypeError('a gt_label is no dict' if data_list else 'it lists no images')
        except Exception as error:
            explained = explain(self, error)
            if explained is None:
                raise
            raise explained from error

    @wrapping(MultiTaskDataset, 'parse_data_info')
    def parse_without_labels(parse: Callable, self, raw_data) -> dict:
        return parse(self, dict(gt_label={}, **raw_data) if 'gt_label' not in raw_data else raw_data)

    @wrapping(MultiTaskDataset, '_join_root')
    def join_if_root(join: Callable, self, path):
        return path if self.data_root is None else join(self, path)

    @wrapping(PackMultiTaskInputs, 'transform')
    def pack_with_path(pack: Callable, self, results: dict) -> dict:
        packed = pack(self, results)
        known = {key: results[key] for key in ('sample_idx', 'img_path') if key in results}
        packed['data_samples'].set_metainfo(known)
        return packed

    def get_subset(self, indices):
        subset = copy.copy(self)
        subset.data_list = [self.data_list[index] for index in indices]
        return subset

    def get_cat_ids(self, idx: int):
        raise NoClassError(f'{self.ann_file} has labels of several tasks, and so no classes to balance or to count.')

    MultiTaskDataset.get_data_info = lambda self, idx: copy.deepcopy(self.data_list[idx])
    MultiTaskDataset.full_init = lambda self: None  # it is: RepeatDataset and the other wrappers ask for it
    MultiTaskDataset.get_subset = get_subset
    MultiTaskDataset.get_cat_ids = get_cat_ids


@CONCATENATING.repaired_by
def name_different_classes() -> None:
    from mmengine.dataset.dataset_wrapper import ConcatDataset, RepeatDataset
    from mmengine.registry import DATASETS

    @wrapping(ConcatDataset, '__init__')
    def init_or_name(init: Callable, self, datasets, *args, **kwargs) -> None:
        built = [DATASETS.build(each) if isinstance(each, dict) else each for each in datasets]
        listed = [each for each in built if isinstance(getattr(each, '_metainfo', {}).get('classes'), (list, tuple))]
        for each in listed[1:]:  # the same names as a list and as a tuple are the same
            each._metainfo['classes'] = type(listed[0]._metainfo['classes'])(each._metainfo['classes'])
        given = zip(datasets, built)  # of what is built it takes no wrappers, of configs it does
        datasets = [dict(type=lambda made=made: made) if isinstance(each, dict) else made for each, made in given]
        try:
            init(self, datasets, *args, **kwargs)
        except (TypeError, ValueError) as error:
            from mmdensenet.datasets.class_lists import require_concatenable

            require_concatenable(self, error)
            raise

    def get_cat_ids(self, idx: int) -> list[int]:
        from mmdensenet.datasets.wrappers import locate

        dataset, index = locate(self, idx)
        return dataset.get_cat_ids(index)

    ConcatDataset.get_cat_ids = RepeatDataset.get_cat_ids = get_cat_ids


@ANNOTATIONS.repaired_by
def name_annotation_files() -> None:
    from mmengine.dataset.base_dataset import BaseDataset

    @wrapping(BaseDataset, 'full_init')
    def init_or_explain(full_init: Callable, self) -> None:
        if getattr(self, '_fully_initialized', False):
            return
        from mmdensenet.datasets.annotations import explain, require_data

        try:
            require_data(str(getattr(self, 'ann_file', '') or ''))
            full_init(self)
        except Exception as error:
            explained = explain(self, error)
            if explained is not None:
                raise explained from error
            raise
