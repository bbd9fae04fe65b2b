"""Images that are packed together are PackInputs' and default_collate's, to the bit."""

import numpy as np
import pytest
import torch
from mmengine.dataset import default_collate
from mmpretrain.datasets.transforms import PackInputs
from torch.utils.data import DataLoader

from mmdensenet.datasets.collate import collate
from mmdensenet.datasets.pack_batch import PackedBatch, QuickPack, Unpacked, pack_batch, packing_later

GENERATOR = np.random.default_rng(0)


def results_of(*shapes, **more):
    """What steps hand to PackInputs, an image of each shape."""
    return [
        dict(img=GENERATOR.integers(0, 256, shape, np.uint8), img_path=f'{i}.jpg', sample_idx=i, gt_label=i, **more)
        for i, shape in enumerate(shapes)
    ]


def unpacked(results, step=None):
    step = step or QuickPack()
    with packing_later(True):
        return [step.transform(dict(result)) for result in results]


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    assert torch.equal(found['inputs'], expected['inputs']) and found['inputs'].dtype == expected['inputs'].dtype
    assert found['inputs'].is_contiguous() and len(found['data_samples']) == len(expected['data_samples'])
    for a, b in zip(found['data_samples'], expected['data_samples']):
        assert dict(a.metainfo_items()) == dict(b.metainfo_items()) and {*a.keys()} == {*b.keys()}
        assert type(a) is type(b) and vars(a).keys() == vars(b).keys()
        for key, value in b.items():
            assert torch.equal(a.get(key), value) and a.get(key).dtype == value.dtype


@pytest.mark.parametrize(
    ('shape', 'count'), [((5, 7, 3), 3), ((5, 7), 3), ((1, 1, 3), 2), ((300, 310, 3), 2), ((800, 700), 1)]
)
@pytest.mark.parametrize('more', [{}, dict(flip=True, flip_direction='horizontal', gt_score=[0.5, 0.25])])
def test_a_batch_is_mmpretrains(shape, count, more):
    """Small images are divided together, large ones one by one."""
    results = results_of(*[shape] * count, **more)
    batch = pack_batch(unpacked(results))
    assert type(batch) is PackedBatch
    expected = default_collate([PackInputs().transform(dict(result)) for result in results])
    assert_same(collate(batch), expected)
    # to whoever else collates, it is a sequence of samples
    assert_same(default_collate(batch), expected)
    assert_same(default_collate(batch[:]), expected)
    assert len(batch) == count and torch.equal(batch[-1]['inputs'], expected['inputs'][-1])
    with pytest.raises(IndexError):
        batch[count]


@pytest.mark.parametrize('cut', [np.s_[2:30, 3:20], np.s_[:, ::-1], np.s_[4:9]])
def test_the_image_that_a_crop_is_of_is_not_kept(cut):
    results = results_of((40, 50, 3))
    results[0]['img'] = results[0]['img'][cut]
    expected = PackInputs().transform(dict(results[0]))['inputs']
    (sample,) = unpacked(results)
    assert sample.results['img'].base is None and sample.results['img'] is not results[0]['img']
    assert torch.equal(pack_batch([sample])[0]['inputs'], expected)


def test_what_is_not_alike_is_packed_one_by_one():
    others = results_of((4, 5, 3), (5, 4, 3), (4, 5))
    float32 = [dict(others[0], img=others[0]['img'].astype(np.float32))]
    for results in (others, others[:1] + float32, float32):
        found = pack_batch(unpacked(results))
        assert type(found) is list
        for one, result in zip(found, results):
            expected = PackInputs().transform(dict(result))
            assert_same(*(dict(sample, data_samples=[sample['data_samples']]) for sample in (one, expected)))
    assert pack_batch([]) == []


def test_each_image_has_the_keys_of_its_own_step():
    results = results_of((4, 5, 3), (4, 5, 3))
    samples = unpacked(results[:1]) + unpacked(results[1:], QuickPack(meta_keys=('sample_idx',)))
    found = [{*sample.metainfo_keys()} for sample in pack_batch(samples).data_samples]
    assert found == [{'sample_idx', 'img_path'}, {'sample_idx'}]


def test_it_is_packed_at_once_outside_of_the_context():
    results = results_of((4, 5, 3))[0]
    with packing_later(True):
        with packing_later(False):
            assert type(QuickPack()(results)) is dict
        assert type(QuickPack()(results)) is Unpacked
    assert type(QuickPack()(results)) is dict
    with pytest.raises(ZeroDivisionError), packing_later(True):
        raise ZeroDivisionError
    assert type(QuickPack()(results)) is dict


class Batches(torch.utils.data.Dataset):
    def __init__(self, results):
        self.results = results

    def __len__(self):
        return len(self.results)

    def __getitems__(self, indices):
        return pack_batch(unpacked([self.results[index] for index in indices]))


@pytest.mark.parametrize('shape', [(4, 5, 3), (500, 400, 3)])
def test_a_worker_packs_into_shared_memory(shape):
    results = results_of(*[shape] * 3)
    (found,) = DataLoader(Batches(results), batch_size=3, num_workers=1, collate_fn=SharedOnly())
    assert_same(found, default_collate([PackInputs().transform(dict(result)) for result in results]))


class SharedOnly:
    def __call__(self, samples):
        assert samples.inputs.is_shared()
        return collate(samples)
