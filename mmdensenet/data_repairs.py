"""Repairs of mmengine's and mmpretrain's data sets, which :mod:`mmdensenet.datasets` does.

They stand outside that package, and import it when they are called, since importing it imports mmpretrain's data sets:
that takes seconds, and these are what is repaired.
"""

import copy
import functools

from .compat.mmengine import ANNOTATIONS, CONCATENATING
from .compat.mmpretrain import FOLDERS, SEVERAL_TASKS


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


@CONCATENATING.repaired_by
def name_different_classes() -> None:
    from mmengine.dataset.dataset_wrapper import ConcatDataset, RepeatDataset
    from mmengine.registry import DATASETS

    init = ConcatDataset.__init__

    @functools.wraps(init)
    def init_or_name(self, datasets, *args, **kwargs) -> None:
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

    ConcatDataset.__init__ = init_or_name
    ConcatDataset.get_cat_ids = RepeatDataset.get_cat_ids = get_cat_ids


@ANNOTATIONS.repaired_by
def name_annotation_files() -> None:
    from mmengine.dataset.base_dataset import BaseDataset

    full_init = BaseDataset.full_init

    @functools.wraps(full_init)
    def init_or_explain(self) -> None:
        try:
            if hasattr(type(self), 'img_prefix') and isinstance(self._metainfo.get('classes'), str):
                from mmdensenet.datasets.class_lists import class_names

                class_names(self._metainfo['classes'])  # text is left where there is no such file
            full_init(self)
        except Exception as error:
            from mmdensenet.datasets.annotations import explain

            explained = explain(self, error)
            if explained is not None:
                raise explained from error
            raise

    BaseDataset.full_init = init_or_explain
