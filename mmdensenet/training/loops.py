"""mmengine's loops, which can start inside an epoch, skip batches without readable images, and validate one model."""

import torch
from mmengine.dist import all_reduce, broadcast, get_world_size
from mmengine.hooks import EMAHook
from mmengine.runner import EpochBasedTrainLoop as _EpochBasedTrainLoop
from mmengine.runner import IterBasedTrainLoop as _IterBasedTrainLoop
from mmengine.runner import TestLoop as _TestLoop
from mmengine.runner import ValLoop as _ValLoop

from mmdensenet.errors import UserError
from mmdensenet.model_wrappers import optim_wrappers
from mmdensenet.registry import LOOPS
from mmdensenet.training.draws import NoImages
from mmdensenet.training.quicken import quicken


class _Quick:
    """A loop whose data loader and model use the faster equivalents of :mod:`.quicken`."""

    def __init__(self, runner, *args, **kwargs):
        super().__init__(runner, *args, **kwargs)
        quicken(runner.model, self.dataloader)


class _SkippingTrainLoop(_Quick):
    """Training in which an iteration may have no step.

    With ``may_be_empty`` (:class:`~mmdensenet.training.hooks.BadImagesHook` sets it on all ranks), an iteration with an
    empty batch has no step, and its hooks get ``outputs=None``. Forward and backward are collective, so all ranks omit
    the step if the batch of one is empty: they agree in each iteration.
    """

    may_be_empty = False

    def _has_no_step(self, data_batch) -> bool:
        empty = isinstance(data_batch, NoImages)
        if self.may_be_empty and get_world_size() > 1:
            flag = torch.tensor(int(empty))
            all_reduce(flag, 'max')
            empty = bool(flag)
        return empty

    def _skip(self, idx: int) -> None:
        whose = 'of the batch' if get_world_size() == 1 else "of a process's batch"
        self.runner.logger.warning(
            f'Iteration {self._iter + 1} is without a step: none of the images {whose} can be read.'
        )
        self.runner.call_hook('before_train_iter', batch_idx=idx, data_batch=NoImages())
        for part in optim_wrappers(self.runner):
            part._inner_count += 1  # accumulation counts iterations, whether or not their images can be read
            if part._accumulative_counts > 1 and part.should_update():
                parameters = [p for group in part.param_groups for p in group['params'] if p.requires_grad]
                _average_over_ranks(parameters)
                if any(p.grad is not None for p in parameters):
                    part.step()
                    part.zero_grad()
        self.runner.call_hook('after_train_iter', batch_idx=idx, data_batch=NoImages(), outputs=None)
        self._iter += 1


def _average_over_ranks(parameters: list[torch.nn.Parameter]) -> None:
    """Average the accumulated gradients over the ranks, as the omitted backward pass would have done."""
    if get_world_size() == 1 or not parameters:
        return
    some = torch.tensor([int(p.grad is not None) for p in parameters])
    all_reduce(some, 'max')
    for parameter, has_gradient in zip(parameters, some.tolist()):
        if has_gradient:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            all_reduce(parameter.grad, 'sum')
            parameter.grad.div_(get_world_size())


@LOOPS.register_module()
class EpochBasedTrainLoop(_SkippingTrainLoop, _EpochBasedTrainLoop):
    """mmengine's loop of this name; ``position`` is the number of completed batches of the current epoch.

    :class:`~mmdensenet.training.hooks.ExactResumeHook` restores it and lets the sampler start there.
    """

    position = 0

    def run_epoch(self) -> None:
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        for idx, data_batch in enumerate(self.dataloader, start=self.position):
            self.run_iter(idx, data_batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1
        self.position = 0

    def run_iter(self, idx, data_batch) -> None:
        self.position = idx + 1
        if self._has_no_step(data_batch):
            self._skip(idx)
        else:
            super().run_iter(idx, data_batch)


@LOOPS.register_module()
class IterBasedTrainLoop(_SkippingTrainLoop, _IterBasedTrainLoop):
    """mmengine's loop of this name, which skips batches without readable images."""

    def run_iter(self, data_batch) -> None:
        if self._has_no_step(data_batch):
            self._skip(self._iter)
        else:
            super().run_iter(data_batch)


class _SkippingEvalLoop(_Quick):
    """Evaluation that skips empty batches; their hooks get ``outputs=[]``."""

    may_be_empty = False
    _name: str
    _has_images = False

    def run_iter(self, idx, data_batch) -> None:
        self._has_images = (self._has_images and idx > 0) or not isinstance(data_batch, NoImages)
        if not isinstance(data_batch, NoImages):
            super().run_iter(idx, data_batch)
            return
        if not self._has_images and idx + 1 == len(self.dataloader) and get_world_size() == 1:
            raise UserError(f'none of the images of {self._name}_dataloader can be read: look at the first of them.')
        self.runner.call_hook(f'before_{self._name}_iter', batch_idx=idx, data_batch=data_batch)
        self.runner.call_hook(f'after_{self._name}_iter', batch_idx=idx, data_batch=data_batch, outputs=[])


@LOOPS.register_module()
class ValLoop(_SkippingEvalLoop, _ValLoop):
    """mmengine's loop of this name, which skips batches without readable images.

    All ranks validate the model that the first one saves: without SyncBN each has running statistics of its own.
    """

    _name = 'val'

    def run(self) -> dict:
        if get_world_size() > 1:
            averages = (hook.ema_model for hook in self.runner.hooks if isinstance(hook, EMAHook))
            for model in (self.runner.model, *averages):
                for buffer in model.buffers():
                    broadcast(buffer)
        return super().run()


@LOOPS.register_module()
class TestLoop(_SkippingEvalLoop, _TestLoop):
    """mmengine's loop of this name, which skips batches without readable images."""

    _name = 'test'
    __test__ = False  # not a test of pytest's
