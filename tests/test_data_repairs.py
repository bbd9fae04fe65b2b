"""mmdensenet.data_repairs; what is in the messages is tested with mmdensenet.datasets, which finds it."""

from pathlib import Path

import pytest
from mmengine.dataset import BaseDataset, ConcatDataset, RepeatDataset

from mmdensenet.compat.mmengine import ANNOTATIONS, CONCATENATING
from mmdensenet.errors import UserError


class Labels(BaseDataset):
    """Image i is of class i."""

    def __init__(self, count: int, ann_file: str = '', **options):
        self.count = count
        super().__init__(ann_file, **options)

    def load_data_list(self) -> list[dict]:
        if self.ann_file:
            Path(self.ann_file).read_text()
        return [dict(label=i) for i in range(self.count)]

    def get_cat_ids(self, idx: int) -> list[int]:
        return [self.get_data_info(idx)['label']]


def test_they_are_made():
    assert CONCATENATING.state == ANNOTATIONS.state == 'applied'


def test_wrappers_know_the_classes_of_their_samples():
    assert [ConcatDataset([Labels(2), Labels(3)]).get_cat_ids(i) for i in range(5)] == [[0], [1], [0], [1], [2]]
    assert [RepeatDataset(Labels(2), 2).get_cat_ids(i) for i in range(4)] == [[0], [1], [0], [1]]


def test_the_same_names_as_a_list_and_as_a_tuple():
    parts = [Labels(2, metainfo=dict(classes=classes)) for classes in (['a', 'b'], ('a', 'b'))]
    assert ConcatDataset(parts).metainfo['classes'] == ['a', 'b']
    with pytest.raises(UserError, match=r'ConcatDataset: .* give its data sets the same metainfo'):
        ConcatDataset([*parts, Labels(2, metainfo=dict(classes=['a', 'c']))])


def test_the_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(UserError, match=r'none\.txt does not exist: set dataset\.ann_file'):
        Labels(2, str(tmp_path / 'none.txt'))
