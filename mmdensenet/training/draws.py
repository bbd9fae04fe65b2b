"""Makes the order of samples and their random numbers a function of seed, epoch and position only.

A sampler's indices are numbered, and the number of a sample seeds its augmentation. The augmentation therefore does not
depend on earlier samples or on the workers, and an epoch can start at any position.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from operator import getitem
from typing import Any

import torch
from mmengine.dataset import DefaultSampler
from torch.utils.data import DataLoader, get_worker_info

from mmdensenet.compat.faults import SKIPPED, uses
from mmdensenet.compat.torch import RANDOM_SAMPLES
from mmdensenet.datasets.collate import collate
from mmdensenet.datasets.pack_batch import pack_batch, packing_later
from mmdensenet.datasets.quick_steps import draws_from_uniforms, packs_last, reader_of
from mmdensenet.datasets.uniforms import draw_from, uniforms_of

from .end_workers import end_workers_at_exit
from .random_state import seed_everything, unchanged_random_state
from .signals import outlive_signals

_CHUNK = 4096


class Draw(int):
    """The index of a sample, with the ``words`` that seed its augmentation."""

    words: tuple[int, ...]

    def __new__(cls, index: int, words: tuple[int, ...]):
        draw = super().__new__(cls, index)
        draw.words = words
        return draw

    def __reduce__(self):
        return Draw, (int(self), self.words)


class NumberedSampler:
    """Wraps any sampler and yields its indices as :class:`Draw`; ``start`` skips indices in the next epoch only."""

    def __init__(self, sampler, seed: int, rank: int):
        self.sampler = sampler
        self.seed = seed
        self.rank = rank
        self.epoch = 0
        self.start = 0

    def __iter__(self) -> Iterator[Draw]:
        start, self.start = self.start, 0
        epoch = getattr(self.sampler, 'epoch', self.epoch)
        for number, index in enumerate(_indices(self.sampler, start), start):
            yield Draw(index, (self.seed, epoch, self.rank, number))

    def begin_at(self, start: int) -> None:
        """Skip indices in the next epoch. The numbers of the others stay, which a skipping ``sampler`` would change."""
        self.start = start

    def __len__(self) -> int:
        return len(self.sampler)

    def __getattr__(self, name: str):
        return getattr(self.sampler, name)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        if hasattr(self.sampler, 'set_epoch'):
            self.sampler.set_epoch(epoch)

    def state_dict(self) -> dict:
        return dict(seed=self.seed, sampler_seed=getattr(self.sampler, 'seed', None))

    def load_state_dict(self, state: dict) -> None:
        self.seed = int(state['seed'])
        if isinstance(state['sampler_seed'], int) and hasattr(self.sampler, 'seed'):
            self.sampler.seed = state['sampler_seed']


def _indices(sampler, start: int) -> Iterator[int]:
    """A sampler's indices from ``start`` on, without the lists of DefaultSampler (36 MB for a million indices)."""
    if type(sampler) is not DefaultSampler:
        yield from islice(iter(sampler), start, None)
        return
    size = len(sampler.dataset)
    if sampler.shuffle:
        order = torch.randperm(size, generator=torch.Generator().manual_seed(sampler.seed + sampler.epoch))
    else:
        order = torch.arange(size)
    for begin in range(sampler.rank + start * sampler.world_size, sampler.total_size, _CHUNK * sampler.world_size):
        end = min(begin + _CHUNK * sampler.world_size, sampler.total_size)
        # the modulus: DefaultSampler rounds up with indices from the start
        yield from order[torch.arange(begin, end, sampler.world_size) % size].tolist()


class Fetch:
    """Reads the samples of a batch, as the attribute ``__getitems__`` of a data set that torch's data loaders call.

    ``keep(get)`` returns the sample ``get()``, or raises :class:`Dropped` to leave it out. If no sample is left, the
    first error is raised, unless ``may_be_empty``. With ``packs_together`` the samples may be a
    :class:`~mmdensenet.datasets.pack_batch.PackedBatch`, which is no list as others' collate functions expect.
    """

    def __init__(self, dataset, packs_together: bool = False):
        self.dataset = dataset
        self.packs_together = packs_together
        self.keep: Callable[[Callable[[], Any]], Any] | None = None
        self.may_be_empty = False

    def __call__(self, indices: list[int]) -> Sequence:
        with_uniforms = draws_from_uniforms(self.dataset)  # a hook may have changed the pipeline
        in_worker = get_worker_info() is not None
        if in_worker or with_uniforms or not any(isinstance(index, Draw) for index in indices):
            return self._fetch(indices, with_uniforms)
        with unchanged_random_state():  # without workers, the samples and the model share generators
            return self._fetch(indices, with_uniforms)

    def _fetch(self, indices: list[int], with_uniforms: bool) -> Sequence:
        read = reader_of(self.dataset) if with_uniforms else partial(getitem, self.dataset)
        keep = self.keep
        samples, dropped = [], []
        with packing_later(self.packs_together and with_uniforms and packs_last(self.dataset)), uniforms_of(None):
            for index in indices:
                words = index.words if isinstance(index, Draw) else None
                if with_uniforms:
                    draw_from(words)
                elif words is not None:
                    seed_everything(*words)
                try:
                    samples.append(read(int(index)) if keep is None else keep(partial(read, int(index))))
                except Dropped as drop:
                    dropped.append(drop)
        if not samples and dropped and not self.may_be_empty:
            raise dropped[0].error
        return pack_batch(samples)


class Dropped(Exception):  # noqa: N818  no error: the batch continues without the sample
    """Raised for a sample that is left out, with the error to raise if no sample of the batch is left."""

    def __init__(self, error: Exception):
        super().__init__(str(error))
        self.error = error


class NoImages(dict):
    """A batch without any readable image."""

    def __init__(self):
        super().__init__(inputs=[], data_samples=[])


class Collate:
    """A ``collate_fn`` that returns :class:`NoImages` for an empty list of samples."""

    def __init__(self, collate: Callable[[list], Any]):
        self.collate = collate

    def __call__(self, samples: list):
        return self.collate(samples) if samples else NoImages()


def allow_empty(dataloader: DataLoader) -> None:
    """Let a batch whose samples are all dropped be :class:`NoImages`, which mmdensenet's loops support."""
    fetch_of(dataloader).may_be_empty = True
    if not isinstance(dataloader.collate_fn, Collate):
        dataloader.collate_fn = Collate(dataloader.collate_fn)


def take_each_once(dataloader: DataLoader) -> bool:
    """Draw each sample once, without the repeated samples that give all ranks equally many. False for other samplers.

    mmengine truncates the collected results to the size of the data set, which removes the repeated samples only if no
    other sample is missing.
    """
    sampler = getattr(dataloader.batch_sampler, 'sampler', None)
    if isinstance(sampler, NumberedSampler):
        sampler = sampler.sampler
    if not isinstance(sampler, DefaultSampler) or getattr(sampler, 'subsample_type', 'default') != 'default':
        return False
    size = len(sampler.dataset)
    sampler.round_up, sampler.total_size = False, size
    sampler.num_samples = len(range(sampler.rank, size, sampler.world_size))
    return True


@RANDOM_SAMPLES.repaired_by
def seed_samples_by_number() -> None:
    """Check that torch's data loaders call ``__getitems__``, which :func:`number_draws` relies on."""
    from torch.utils.data._utils.fetch import _MapDatasetFetcher

    if not uses(_MapDatasetFetcher.fetch, '__getitems__'):
        raise AttributeError("torch's data loader asks for samples in another way")


def fetch_of(dataloader: DataLoader) -> Fetch:
    """The :class:`Fetch` of a data loader's data set, which is added if missing.

    Raises:
        RuntimeError: if this version of torch would not call it, so that samples would get other random numbers.
    """
    if RANDOM_SAMPLES.state == SKIPPED:
        raise RuntimeError('mmdensenet cannot seed the samples of a data loader of this version of torch')
    dataset = dataloader.dataset
    fetch = vars(dataset).get('__getitems__')
    if not isinstance(fetch, Fetch):
        function = dataloader.collate_fn
        dataset.__getitems__ = fetch = Fetch(dataset, getattr(function, 'collate', function) is collate)
    return fetch


def number_draws(dataloader: DataLoader, seed: int, rank: int) -> NumberedSampler | None:
    """Let a data loader draw as this module describes. None if its batch sampler has no sampler."""
    batch_sampler = dataloader.batch_sampler
    sampler = getattr(batch_sampler, 'sampler', None)
    if isinstance(sampler, NumberedSampler):
        return sampler
    if sampler is None:
        return None
    fetch_of(dataloader)
    batch_sampler.sampler = NumberedSampler(sampler, seed, rank)
    if hasattr(sampler, 'skip'):  # the OneDL forks' loop by iterations calls it where a run is resumed
        sampler.skip = batch_sampler.sampler.begin_at
    # each iterator draws a seed for its workers; its own generator keeps the model's unchanged
    dataloader.generator = torch.Generator().manual_seed(seed)
    dataloader.worker_init_fn = partial(outlive_signals, dataloader.worker_init_fn)
    end_workers_at_exit()
    return batch_sampler.sampler
