"""The policy for images that cannot be read: stop, or skip them, count them and list them; never substitute another."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from mmengine.dist import get_world_size, master_only
from mmengine.hooks import Hook

from mmdensenet.datasets.wrappers import all_datasets
from mmdensenet.errors import BadImageError, UserError
from mmdensenet.registry import HOOKS
from mmdensenet.training.draws import Dropped, allow_empty, fetch_of, take_each_once

#: file in the work directory with a line for each skipped image and the reason
LIST = 'bad_images.txt'


@HOOKS.register_module()
class BadImagesHook(Hook):
    """The policy for images that cannot be read, in training, validation and testing.

    Args:
        policy: 'stop' ends the run at the first one and names it. 'skip' leaves it out of its batch, which becomes
            smaller, and lists it in ``bad_images.txt`` in the work directory.
        budget: with 'skip', how many different images may be skipped, over all processes, workers and restarts.

    Raises:
        UserError: for the first bad image ('stop'), for more bad images than the budget, and for a data set without a
            readable image.

    mmdensenet's loops skip a batch without any readable image, in training on all ranks together; in other loops such
    a batch ends the run.
    """

    def __init__(self, policy: str = 'stop', budget: int = 100):
        if policy not in ('stop', 'skip'):
            raise UserError(f"BadImagesHook: policy={policy!r}: choose 'stop' or 'skip'.")
        self.policy = policy
        self.budget = budget
        self._reported = 0

    def before_train(self, runner) -> None:
        self._install(runner, runner.train_loop)
        if runner.val_loop is not None:
            self._install(runner, runner.val_loop)

    def before_test(self, runner) -> None:
        self._install(runner, runner.test_loop)

    def _install(self, runner, loop) -> None:
        dataloader = loop.dataloader
        for dataset in all_datasets(dataloader.dataset):
            if hasattr(dataset, 'max_refetch'):
                dataset.max_refetch = 0  # else mmengine draws another sample when a pipeline returns None
        if self.policy == 'skip':
            fetch_of(dataloader).keep = partial(skip, Path(runner.work_dir, LIST).absolute(), self.budget)
            if hasattr(loop, 'may_be_empty'):
                allow_empty(dataloader)
                loop.may_be_empty = True
            if loop is not runner._train_loop and get_world_size() > 1 and not take_each_once(dataloader):
                runner.logger.warning('The sampler may draw images twice: if others are skipped, these count twice.')

    @master_only
    def _after_epoch(self, runner, mode: str = 'train') -> None:
        file = Path(runner.work_dir, LIST)
        number = len(listed(file)) if self.policy == 'skip' else 0
        if number > self._reported:
            runner.logger.warning(f'{number} images cannot be read and are left out: {file} lists them.')
        self._reported = number


def skip(file: Path, budget: int, get: Callable):
    """What ``get`` gives. An image that cannot be read is listed in a file to which all processes and workers append,
    and :class:`.draws.Dropped`."""
    try:
        return get()
    except BadImageError as error:
        _list(file, budget, error)
        raise Dropped(error) from error


def _list(file: Path, budget: int, error: BadImageError) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open('a+', encoding='utf-8', errors='surrogateescape') as opened:
        _lock(opened)
        opened.seek(0)
        known = {line.split('\t')[0] for line in opened}
        path = os.fspath(error.path).replace('\n', '?').replace('\t', '?')
        if path not in known:
            known.add(path)
            opened.write(f'{path}\t{error.reason}\n')
    if len(known) > budget:
        raise UserError(
            f'{len(known)} images cannot be read, and {budget} may be left out (BadImagesHook.budget): {file} lists '
            'them.'
        )


def listed(file: Path) -> list[str]:
    """The paths of the skipped images."""
    if not file.is_file():
        return []
    return [line.split('\t')[0] for line in file.read_text(encoding='utf-8', errors='surrogateescape').splitlines()]


def _lock(file) -> None:
    """Lock the file until it is closed. On Windows there is no lock, and a path may be listed twice."""
    try:
        import fcntl
    except ImportError:
        return
    fcntl.flock(file, fcntl.LOCK_EX)
