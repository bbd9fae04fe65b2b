"""The state in a checkpoint from which a run resumes exactly: collected, checked and restored."""

from __future__ import annotations

import torch
from mmengine.dist import get_rank
from mmengine.runner import EpochBasedTrainLoop

from mmdensenet.errors import UserError
from mmdensenet.model_wrappers import optim_wrappers, unwrapped
from mmdensenet.ops.show_engine import kernel_variant
from mmdensenet.ops.steps import VARIABLE as KERNELS_VARIABLE
from mmdensenet.ops.steps.native.library import VARIABLE as VARIANT_VARIABLE

#: the key of this state in a checkpoint
KEY = 'exact_resume'
#: key of a checkpoint's meta: the variant of the C++ kernels that trained it
VARIANT_KEY = 'kernel_variant'


def pending_gradients(runner) -> dict[str, torch.Tensor]:
    """Gradients accumulated towards the next optimizer step, on the CPU, by parameter name; empty between steps."""
    if all(wrapper.should_update() for wrapper in optim_wrappers(runner)):
        return {}
    return {name: p.grad.detach().cpu() for name, p in unwrapped(runner.model).named_parameters() if p.grad is not None}


def restore_gradients(runner, gradients: dict[str, torch.Tensor]) -> None:
    """Set the accumulated gradients of the parameters that still have this name and shape."""
    for name, parameter in unwrapped(runner.model).named_parameters():
        gradient = gradients.get(name)
        if gradient is not None and gradient.shape == parameter.shape:
            parameter.grad = gradient.to(parameter.device, parameter.dtype)


def own_buffers(runner) -> dict[str, torch.Tensor]:
    """A rank's running statistics, on the CPU, by name; empty on the first rank, whose own are in the checkpoint.

    Without SyncBN those of the ranks differ, and mmengine's SyncBuffersHook averages them after an epoch.
    """
    buffers = unwrapped(runner.model).named_buffers() if get_rank() else ()
    return {name: buffer.detach().cpu() for name, buffer in buffers}


def restore_buffers(runner, buffers: dict[str, torch.Tensor]) -> None:
    """Set the running statistics that still have this name and shape."""
    for name, buffer in unwrapped(runner.model).named_buffers():
        saved = buffers.get(name)
        if saved is not None and saved.shape == buffer.shape:
            buffer.copy_(saved)


def checked(loaded: dict) -> dict:
    """The saved state, converted to the types that resuming needs.

    Raises:
        UserError: if a key is missing, or a value is impossible.
    """
    try:
        state = dict(
            random=list(loaded['random']),
            position=int(loaded['position']),
            batches=int(loaded['batches']),
            validated=bool(loaded['validated']),
            early_stopping=[
                dict(best_score=float(saved['best_score']), wait_count=int(saved['wait_count']))
                for saved in loaded.get('early_stopping', ())
            ],
            gradients=[dict(gradients) for gradients in loaded.get('gradients', ())],
            buffers=[dict(buffers) for buffers in loaded.get('buffers', ())],
        )
        int(loaded['sampler']['seed']), loaded['sampler']['sampler_seed']
        for name in ('gradients', 'buffers'):
            if len(state[name]) not in (0, len(state['random'])):
                raise ValueError(name)
        if not 0 <= state['position'] <= state['batches']:
            raise ValueError('position')
        return state
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"the checkpoint's part {KEY!r} is not one of mmdensenet's ({error}).") from error


def restore_position(loop, loaded: dict) -> None:
    """Let the loop start at the batch after the last one before the checkpoint.

    Raises:
        UserError: if the loop cannot start inside an epoch, or its epochs have another number of batches.
    """
    if not loaded['position']:
        return
    if not hasattr(loop, 'position'):
        raise UserError(
            "the checkpoint was written inside an epoch: set train_cfg.type='mmdensenet.EpochBasedTrainLoop'."
        )
    if loaded['batches'] != len(loop.dataloader):
        raise UserError(
            f'the checkpoint was written inside an epoch of {loaded["batches"]} batches, and there are '
            f'{len(loop.dataloader)} now.\nSet the data, the batch size and the number of processes as they were, or '
            'resume from an epoch_N.pth.'
        )
    loop.position = loaded['position']


def validation_is_due(runner) -> bool:
    """Whether a validation is due at the point where the run resumes."""
    loop = runner.train_loop
    done = loop.epoch if isinstance(loop, EpochBasedTrainLoop) else loop.iter
    if runner.val_loop is None or done == 0 or getattr(loop, 'position', 0):
        return False
    loop._decide_current_val_interval()
    return validates_after(loop, done)


def validates_after(loop, done: int) -> bool:
    """Whether mmengine's loop validates after this number of epochs, or of iterations."""
    end = loop.max_epochs if isinstance(loop, EpochBasedTrainLoop) else loop.max_iters
    return done >= loop.val_begin and (done % loop.val_interval == 0 or done == end)


def variant(runner) -> str | None:
    """The variant of the C++ kernels, ``'plain'`` without them, or None on a GPU."""
    on_cpu = next(runner.model.parameters()).is_cpu
    return (kernel_variant() or 'plain') if on_cpu else None


def warn_of_other_variant(runner, checkpoint: dict) -> None:
    """Warn if other kernels trained the checkpoint: they sum in another order. Old checkpoints do not name theirs."""
    before, now = checkpoint.get('meta', {}).get(VARIANT_KEY), variant(runner)
    if before != now and before and now:
        runner.logger.warning(
            f'The checkpoint was trained with the kernels {before}, and this run uses {now}: it continues exactly to '
            f'rounding only. {KERNELS_VARIABLE} and {VARIANT_VARIABLE} choose them.'
        )
