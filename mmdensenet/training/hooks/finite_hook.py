"""Ends a run whose loss is NaN or infinite before its weights are saved."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Number
from pathlib import Path

import numpy as np
import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.structures import BaseDataElement

from mmdensenet.checkpoints.work_dir import newest_that_verifies
from mmdensenet.errors import UserError
from mmdensenet.registry import HOOKS

#: file in the work directory with the images of the batch
LIST = 'nonfinite_loss.txt'


@HOOKS.register_module()
class FiniteHook(Hook):
    """Check the loss of each iteration, the weights before they are saved, and the scores of validation and test.

    AMP's loss scaling skips a step whose gradients overflow: with it, up to ``max_skipped`` iterations in a row may
    have a loss that is not finite.

    A validation with a score that is not finite has no result: a warning names the image, and all metrics become NaN,
    so that no checkpoint becomes the best. Training continues, because a later epoch may be sound.

    Args:
        interval: on a GPU, the iterations between two checks, because a check waits for the GPU.

    Raises:
        UserError: for a loss, with the iteration, the learning rate and the images, which ``nonfinite_loss.txt`` in the
            work directory lists; for weights, with the name of the tensor; for scores of a test, with the image.
    """

    priority = 'HIGHEST'  # before EMA reads the weights, and before other hooks save or record a metric

    def __init__(self, max_skipped: int = 10, interval: int = 10):
        self.max_skipped = max_skipped
        self.interval = interval
        self._in_a_row = 0
        #: iteration, loss, images and learning rate of the iterations that are not checked yet
        self._unchecked: list[tuple[int, torch.Tensor, list[str], float]] = []
        self.before_val(None)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        loss = outputs.get('loss') if isinstance(outputs, dict) else None
        if loss is None:
            return
        loss = torch.as_tensor(loss).detach()
        rates = runner.optim_wrapper.get_lr()
        rate = next(iter(rates.values()))[0] if rates else float('nan')
        self._unchecked.append((runner.iter + 1, loss, image_paths(data_batch), rate))
        if loss.device.type == 'cpu' or len(self._unchecked) >= self.interval:
            self._check(runner)

    def after_train(self, runner) -> None:
        self._check(runner)

    def before_collective_save(self, runner) -> None:
        self._check(runner)  # only the first rank saves, but the file includes the gradients of all ranks

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        self._check(runner)
        for part in ('state_dict', 'ema_state_dict'):
            for name, tensor in checkpoint.get(part, {}).items():
                if isinstance(tensor, torch.Tensor) and not torch.isfinite(tensor).all():
                    iteration = checkpoint['meta']['iter']  # the runner's own is one less before the end of an epoch
                    raise UserError(
                        f'{part} {name} is not finite at iteration {iteration}: no checkpoint is written.\n'
                        f'{_what_to_do(runner)}'
                    )

    def before_val(self, runner) -> None:
        self._num_images, self._num_nonfinite, self._first_nonfinite = 0, 0, ''

    before_test = before_val

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        found = [(sample, list(_scores_of(sample))) for sample in outputs or ()]
        scores = [score.flatten() for _, inside in found for score in inside]
        self._num_images += len(found)
        if not scores or torch.isfinite(torch.cat(scores)).all():
            return
        for sample, inside in found:
            if not all(torch.isfinite(score).all() for score in inside):
                self._num_nonfinite += 1
                name = str(sample.get('img_path') or f'sample {sample.get("sample_idx")}')
                self._first_nonfinite = self._first_nonfinite or name

    after_test_iter = after_val_iter

    def after_val_epoch(self, runner, metrics=None) -> None:
        """Set the metrics to NaN in place: the hooks that log and compare them get the same dict."""
        if what := self._describe_scores():
            runner.logger.warning(f'Validation: {what}. Its metrics are NaN, and no checkpoint is the best for them.')
            for name in metrics or ():
                metrics[name] = _undefined(metrics[name])

    def after_test_epoch(self, runner, metrics=None) -> None:
        if what := self._describe_scores():
            raise UserError(
                f'{runner._load_from}: {what}. The test has no result: the weights or the images have NaN or infinite '
                'values.'
            )

    def _describe_scores(self) -> str:
        """How many images of all processes have scores that are not finite; empty if none.

        argmax returns the index of a NaN, so that such an image would count as one of that class.
        """
        counts = torch.tensor([self._num_nonfinite, self._num_images])
        all_reduce(counts)
        number, of = counts.tolist()
        first = f', among them those of {self._first_nonfinite}' if self._first_nonfinite else ''
        return f'the scores of {number} of {of} images are not all numbers{first}' if number else ''

    def _check(self, runner) -> None:
        unchecked, self._unchecked = self._unchecked, []
        for iteration, loss, paths, rate in unchecked:
            if torch.isfinite(loss).all():
                self._in_a_row = 0
                continue
            self._in_a_row += 1
            scaler = getattr(runner.optim_wrapper, 'loss_scaler', None)
            if scaler is not None and scaler.is_enabled() and self._in_a_row <= self.max_skipped:
                runner.logger.warning(f'The loss is {loss.item()} at iteration {iteration}: AMP leaves the step out.')
                continue
            raise UserError(self._describe(runner, iteration, loss, paths, rate))

    def _describe(self, runner, iteration: int, loss: torch.Tensor, paths: list[str], rate: float) -> str:
        where = ''
        if paths:
            file = Path(runner.work_dir, LIST)
            file.write_text(''.join(f'{path}\n' for path in paths), encoding='utf-8', errors='surrogateescape')
            more = f' and {len(paths) - 2} more, which {file} lists' if len(paths) > 2 else ''
            where = f'; images: {", ".join(paths[:2])}{more}'
        what = f'the loss is {loss.item()} at iteration {iteration}, learning rate {rate:.4g}{where}.'
        return f'{what}\n{_what_to_do(runner)}'


def _undefined(value):
    """The value with each number replaced by NaN, at any depth."""
    if isinstance(value, torch.Tensor | np.ndarray):
        return value * float('nan')
    if isinstance(value, dict):
        return {key: _undefined(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_undefined(inner) for inner in value]
    return float('nan') if isinstance(value, Number) else value


def _scores_of(sample) -> Iterator[torch.Tensor]:
    """The scores of a data sample, or of each task in it."""
    if not isinstance(sample, BaseDataElement):
        return
    if isinstance(score := sample.get('pred_score'), torch.Tensor):
        yield score
        return
    for inner in sample.values():
        yield from _scores_of(inner)


def image_paths(data_batch) -> list[str]:
    """The paths of a batch's images, or their indices in the data set where they have no file."""
    samples = data_batch.get('data_samples') if isinstance(data_batch, dict) else None
    found = []
    for sample in samples or ():
        path, index = (sample.get(key) if hasattr(sample, 'get') else None for key in ('img_path', 'sample_idx'))
        if path is not None or index is not None:
            found.append(f'sample {int(index)}' if path is None else str(path))
    return found


def _what_to_do(runner) -> str:
    good, _ = newest_that_verifies(runner.work_dir)
    if good is None:
        return 'There is no checkpoint yet. Look at the images, or lower the learning rate.'
    return f'The last good checkpoint is {good.path}: look at the images, or go on from it with a lower learning rate.'
