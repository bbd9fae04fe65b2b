"""mmengine's loops, which can start inside an epoch, and pass over batches none of whose images can be read."""

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.runner import EpochBasedTrainLoop as _EpochBasedTrainLoop
from mmengine.runner import IterBasedTrainLoop as _IterBasedTrainLoop
from mmengine.runner import TestLoop as _TestLoop
from mmengine.runner import ValLoop as _ValLoop

from mmdensenet.errors import UserError
from mmdensenet.registry import LOOPS
from mmdensenet.training.draws import NoImages
from mmdensenet.training.quicken import quicken


class _Quick:
    def __init__(self, runner, *args, **kwargs):
        super().__init__(runner, *args, **kwargs)
        quicken(runner.model, self.dataloader)


class _PassOverSteps(_Quick):
    """Training with iterations without a step.

    With ``may_be_empty`` (:class:`~mmdensenet.training.hooks.BadImagesHook` sets it on all ranks) a batch without any
    image is an iteration without a step, whose hooks get ``outputs=None``. Forward and backward are collective, so no
    rank takes the step when the batch of one is empty: they agree in each iteration.
    """

    may_be_empty = False

    def _is_without_step(self, data_batch) -> bool:
        empty = isinstance(data_batch, NoImages)
        if self.may_be_empty and get_world_size() > 1:
            flag = torch.tensor(int(empty))
            all_reduce(flag, 'max')
            empty = bool(flag)
        return empty

    def _pass_over(self, idx: int) -> None:
        whose = 'of the batch' if get_world_size() == 1 else "of a process's batch"
        self.runner.logger.warning(
            f'Iteration {self._iter + 1} is without a step: none of the images {whose} can be read.'
        )
        self.runner.call_hook('before_train_iter', batch_idx=idx, data_batch=NoImages())
        wrapper = self.runner.optim_wrapper
        for part in wrapper.values() if hasattr(wrapper, 'values') else [wrapper]:
            part._inner_count += 1  # which iteration ends a sum of gradients does not depend on what can be read
            if part._accumulative_counts > 1 and part.should_update():
                parameters = [p for group in part.param_groups for p in group['params'] if p.requires_grad]
                _average_over_ranks(parameters)
                if any(p.grad is not None for p in parameters):
                    part.step()
                    part.zero_grad()
        self.runner.call_hook('after_train_iter', batch_idx=idx, data_batch=NoImages(), outputs=None)
        self._iter += 1


def _average_over_ranks(parameters: list[torch.nn.Parameter]) -> None:
    """What the backward pass that was passed over would have done with the gradients that each rank has summed up."""
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
class EpochBasedTrainLoop(_PassOverSteps, _EpochBasedTrainLoop):
    """mmengine's loop of this name; ``position`` is the number of batches of the current epoch that are done.

    :class:`~mmdensenet.training.hooks.ExactResumeHook` sets it from a checkpoint and has the sampler start there.
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
        if self._is_without_step(data_batch):
            self._pass_over(idx)
        else:
            super().run_iter(idx, data_batch)


@LOOPS.register_module()
class IterBasedTrainLoop(_PassOverSteps, _IterBasedTrainLoop):
    """mmengine's loop of this name, which passes over batches without any image."""

    def run_iter(self, data_batch) -> None:
        if self._is_without_step(data_batch):
            self._pass_over(self._iter)
        else:
            super().run_iter(data_batch)


class _PassOver(_Quick):
    """Evaluation without the batches that have no image; their hooks get ``outputs=[]``."""

    may_be_empty = False
    _name: str
    _found = False

    def run_iter(self, idx, data_batch) -> None:
        self._found = (self._found and idx > 0) or not isinstance(data_batch, NoImages)
        if not isinstance(data_batch, NoImages):
            super().run_iter(idx, data_batch)
            return
        if not self._found and idx + 1 == len(self.dataloader) and get_world_size() == 1:
            raise UserError(f'none of the images of {self._name}_dataloader can be read: look at the first of them.')
        self.runner.call_hook(f'before_{self._name}_iter', batch_idx=idx, data_batch=data_batch)
        self.runner.call_hook(f'after_{self._name}_iter', batch_idx=idx, data_batch=data_batch, outputs=[])


@LOOPS.register_module()
class ValLoop(_PassOver, _ValLoop):
    """mmengine's loop of this name, which passes over batches without any image."""

    _name = 'val'


@LOOPS.register_module()
class TestLoop(_PassOver, _TestLoop):
    """mmengine's loop of this name, which passes over batches without any image."""

    _name = 'test'
    __test__ = False  # not a test of pytest's
