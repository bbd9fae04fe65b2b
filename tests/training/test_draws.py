"""mmdensenet.training.draws: samples and their random numbers depend on seed, epoch and position only."""

import random

import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset, Compose, ConcatDataset, DefaultSampler, RepeatDataset
from mmpretrain.datasets.transforms import PackInputs, RandomCrop, RandomFlip
from torch.utils.data import DataLoader, Dataset

from mmdensenet.datasets.collate import collate
from mmdensenet.datasets.pack_batch import PackedBatch
from mmdensenet.datasets.quick_steps import QuickFlip, draws_from_uniforms, quicken_steps
from mmdensenet.datasets.uniforms import current, uniforms_of
from mmdensenet.training.draws import NumberedSampler, number_draws


def draw_all():
    return random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(1).item()


class Noise(Dataset):
    def __len__(self):
        return 10

    def __getitem__(self, index):
        assert type(index) is int
        return index, draw_all()


@pytest.mark.parametrize('workers', [0, 1, 3])
def test_an_epoch_can_start_at_any_position(workers):
    def epoch(number, start=0):
        loader = DataLoader(Noise(), batch_size=3, shuffle=False, num_workers=workers)
        sampler = number_draws(loader, seed=5, rank=0)
        assert number_draws(loader, seed=5, rank=0) is sampler and isinstance(sampler, NumberedSampler)
        sampler.epoch, sampler.start = number, start * 3
        return [[part.tolist() if hasattr(part, 'tolist') else part for part in batch] for batch in loader]

    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = epoch(0)
    assert torch.equal(torch.get_rng_state(), before), "the model's generator is left alone"
    assert str(epoch(0, 2)) == str(first[2:]) and epoch(0, 4) == []
    assert str(epoch(1)) != str(first) and str(epoch(0)) == str(first)


@pytest.mark.parametrize('shuffle', [True, False])
@pytest.mark.parametrize('round_up', [True, False])
@pytest.mark.parametrize(('size', 'ranks'), [(10, 1), (10, 3), (2, 5), (9000, 2)])
def test_default_samplers_order_without_lists(monkeypatch, shuffle, round_up, size, ranks):
    for rank in range(ranks):
        monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda rank=rank: (rank, ranks))
        sampler = DefaultSampler(range(size), shuffle, seed=3, round_up=round_up)
        sampler.epoch = 4
        expected = list(sampler)
        numbered = NumberedSampler(sampler, seed=5, rank=rank)
        assert list(numbered) == expected and len(numbered) == len(expected)
        numbered.start = len(expected) // 2
        drawn = list(numbered)
        assert drawn == expected[len(expected) // 2 :]
        assert [draw.words for draw in drawn] == [(5, 4, rank, len(expected) // 2 + i) for i in range(len(drawn))]


class Draws(BaseDataset):
    """Samples with what their pipeline draws from the sample's own numbers."""

    def load_data_list(self):
        return [dict(img=np.zeros((2, 2, 3), np.uint8)) for _ in range(10)]


def test_a_pipeline_of_known_steps_draws_from_the_samples_own_numbers():
    flip = QuickFlip(0.5, 'horizontal')
    data = Draws(pipeline=[])
    data.pipeline.transforms = [flip]

    def epoch(workers, start=0):
        loader = DataLoader(data, batch_size=5, collate_fn=list, num_workers=workers)
        sampler = number_draws(loader, seed=5, rank=0)
        sampler.start = start
        return [sample['flip'] for batch in loader for sample in batch]

    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    first = epoch(0)
    assert np.array_equal(np.random.get_state()[1], before) and set(first) == {True, False}
    assert epoch(0, 5) == first[5:] and epoch(1) == first
    data.pipeline.transforms = [flip, lambda results: results | dict(noise=np.random.rand())]
    assert epoch(0) == epoch(1) != first, "a step of one's own draws from numpy, and so do all"

    class Own(Draws):
        def prepare_data(self, idx):
            return super().prepare_data(idx)

    class Subclass(RepeatDataset):
        def __getitem__(self, idx):
            return self.dataset[np.random.randint(len(self))]

    data.pipeline.transforms = [flip]
    assert draws_from_uniforms(data)
    assert all(draws_from_uniforms(each) for each in (ConcatDataset([data, data]), RepeatDataset(data, 2)))
    assert not draws_from_uniforms(Subclass(data, 2)), 'nor a wrapper that is not known'
    data.prepare_data = lambda idx: None
    assert not draws_from_uniforms(data), 'nor what stands in the place of a method'
    del data.prepare_data
    data.pipeline.__class__ = type('Own', (Compose,), {})
    assert not draws_from_uniforms(data), 'nor a pipeline of its own class'
    data.pipeline.__class__ = Compose
    data.__class__ = Own
    assert not draws_from_uniforms(data), 'what a class of its own draws is not known'


class Colours(BaseDataset):
    """Six images of two sizes, in memory."""

    def load_data_list(self):
        generator = np.random.default_rng(0)
        sizes = [(6, 7)] * 4 + [(9, 5)] * 2
        return [
            dict(img=generator.integers(0, 256, (*size, 3), np.uint8), gt_label=i, img_path=f'{i}')
            for i, size in enumerate(sizes)
        ]


def wrapped(kind, **options):
    data = Colours(pipeline=[RandomCrop(4, padding=2), RandomFlip(0.5, 'horizontal'), PackInputs()], **options)
    return {'repeat': lambda: RepeatDataset(data, 2), 'both': lambda: ConcatDataset([data, data])}.get(
        kind, lambda: data
    )()


@pytest.mark.parametrize('kind', ['plain', 'in lists', 'repeat', 'both'])
def test_a_batch_is_that_of_its_samples(kind):
    """Read together, and each by the data set's own methods with the same numbers."""
    data = wrapped(kind, serialize_data=kind != 'in lists')
    quicken_steps(data)
    loader = DataLoader(data, batch_size=3, collate_fn=collate, sampler=DefaultSampler(data))
    number_draws(loader, seed=5, rank=0)
    indices = list(loader.batch_sampler)
    whole = [data.__getitems__(batch) for batch in indices]
    assert {type(batch) for batch in whole} == {PackedBatch}, 'crops have one size'
    for batch, drawn in zip(whole, indices):
        for sample, index in zip(batch, drawn, strict=True):
            with uniforms_of(index.words):
                expected = data[int(index)]
            assert torch.equal(sample['inputs'], expected['inputs'])
            a, b = sample['data_samples'], expected['data_samples']
            assert dict(a.metainfo_items()) == dict(b.metainfo_items()) and torch.equal(a.gt_label, b.gt_label)
    assert current() is None and type(data[0]) is dict


def test_a_batch_of_several_sizes_or_with_steps_of_ones_own_is_a_list_of_samples():
    class Own(RandomFlip):
        pass

    data = Colours(pipeline=[PackInputs()])
    quicken_steps(data)
    loader = DataLoader(data, batch_size=6, collate_fn=collate, shuffle=False)
    number_draws(loader, seed=5, rank=0)
    fetch = data.__getitems__
    assert [tuple(sample['inputs'].shape) for sample in fetch(range(6))] == [(3, 6, 7)] * 4 + [(3, 9, 5)] * 2
    assert type(fetch([0, 1])) is PackedBatch and type(fetch([0, 4])) is list
    data.pipeline.transforms.append(lambda packed: packed | dict(mine=1))
    assert [sample['mine'] for sample in fetch([0, 1])] == [1, 1], 'what follows PackInputs has its samples'
    data.pipeline.transforms = [Own(0.5), data.pipeline.transforms[0]]
    assert type(fetch([0, 1])) is list


def test_a_collate_function_of_ones_own_has_a_list():
    data = Colours(pipeline=[PackInputs()])
    quicken_steps(data)
    loader = DataLoader(data, batch_size=4, collate_fn=lambda samples: samples[1:] + samples[:1])
    number_draws(loader, seed=5, rank=0)
    assert [sample['data_samples'].gt_label.item() for sample in next(iter(loader))] == [1, 2, 3, 0]


class Skipping(DefaultSampler):
    """As InfiniteSampler of the OneDL forks, which their loop by iterations skips when a run is resumed."""

    def skip(self, num_samples):
        raise AssertionError('the numbers of the samples that follow would begin at 0 again')


def test_a_sampler_that_skips_keeps_the_numbers():
    loader = DataLoader(Noise(), batch_size=2, sampler=Skipping(range(10), seed=3))
    numbered = number_draws(loader, seed=5, rank=0)
    drawn = list(numbered)
    for sampler in (loader.sampler, loader.batch_sampler.sampler):
        sampler.skip(4)
        rest = list(numbered)
        assert rest == drawn[4:] and [draw.words for draw in rest] == [draw.words for draw in drawn[4:]]
    assert list(numbered) == drawn and not hasattr(NumberedSampler(range(3), 5, 0), 'skip')
