"""mmdensenet.datasets.labels: which parts of a data set have none."""

import pytest
from mmengine.dataset import BaseDataset, ConcatDataset

from mmdensenet.datasets.labels import source_of, unlabelled_parts


class Samples(BaseDataset):
    def __init__(self, samples: list[dict], **options):
        self.samples = samples
        super().__init__(serialize_data=False, **options)

    def load_data_list(self) -> list[dict]:
        return self.samples


@pytest.mark.parametrize(
    ('samples', 'labelled'),
    [
        ([dict(gt_label=0)], True),
        ([dict(gt_score=[0.5, 1])], True),
        ([dict(img_path='a.png')], False),
        ([dict(gt_label=None, gt_score=None)], False),
        ([], True),
        # of several tasks an image may lack any
        ([dict(gt_label={}), dict(gt_label=dict(colour=1))], True),
        ([dict(gt_label={}), dict(gt_label={})], False),
    ],
)
def test_whether_it_has_labels(samples, labelled):
    part = Samples(samples)
    assert unlabelled_parts(part) == ([] if labelled else [part])


def test_the_parts_of_wrappers():
    with_labels, without = Samples([dict(gt_label=1)]), Samples([dict(img_path='a.png')])
    assert unlabelled_parts(ConcatDataset([with_labels, without])) == [without]
    assert unlabelled_parts([1, 2]) == []


def test_what_it_is_called():
    made = Samples([dict(gt_label=1)])
    assert source_of(made) == 'Samples'
    made.data_prefix = dict(img_path='photos')
    assert source_of(made) == 'photos'
    made.ann_file = 'labels.csv'
    assert source_of(made) == 'labels.csv'
