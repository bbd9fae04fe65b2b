"""What the fused block saves for backward, as named tuples, and how it is passed through autograd's saved tensors."""

from typing import NamedTuple

from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.utils._pytree import tree_flatten, tree_unflatten

from ..norms import running


class NormState(NamedTuple):
    """A norm as an affine map per channel: scale, shift, weight, mean and reciprocal standard deviation, (C,) each."""

    scale: Tensor
    shift: Tensor
    weight: Tensor
    mean: Tensor
    rstd: Tensor


class LayerState(NamedTuple):
    """What a layer saves for backward; ``norm2`` to ``keep_mask`` are None without a bottleneck."""

    norm1: NormState
    conv1: Tensor
    norm2: NormState | None
    conv2: Tensor | None
    #: the bottleneck's output (M, J)
    y: Tensor | None
    #: (M, J), whether dropout keeps a value of y
    keep_mask: Tensor | None
    #: factors of dropout (M, k)
    mask: Tensor | None


class BlockState(NamedTuple):
    """What a block saves for backward."""

    #: (N, C0 + L * k, H, W): the buffer
    features: Tensor
    layers: list[LayerState]
    #: the transition's norm and convolution
    transition: tuple[NormState, Tensor] | None
    #: mean and reciprocal standard deviation of all channels, which the norms share in training
    statistics: tuple[Tensor, Tensor] | None
    #: number of rows of all ranks
    total: Tensor | int


def pack(ctx: FunctionCtx, state: BlockState, x_stand_in: Tensor, running_statistics: list[Tensor]) -> None:
    """Save the state, the stand-in of x, and the norms' running means and variances."""
    leaves, ctx.structure = tree_flatten(state._replace(total=None))
    ctx.total = state.total
    ctx.save_for_backward(x_stand_in, *leaves, *running_statistics)


def unpack(ctx: FunctionCtx) -> tuple[BlockState, Tensor, list[Tensor]]:
    """The arguments of :func:`pack`. Call it once per backward pass: hooks of saved tensors may unpack each only
    once."""
    x_stand_in, *saved = ctx.saved_tensors
    leaves, running_statistics = saved[: ctx.structure.num_leaves], saved[ctx.structure.num_leaves :]
    return tree_unflatten(leaves, ctx.structure)._replace(total=ctx.total), x_stand_in, running_statistics


def with_running_statistics(state: BlockState, running_statistics: list[Tensor], eps: float) -> BlockState:
    """The state of norms in evaluation with their current running statistics, which batch norm's backward reads too."""
    statistics = iter(running_statistics)

    def norm(old: NormState) -> NormState:
        mean, rstd = running(next(statistics), next(statistics), eps, old.mean.dtype)
        return old._replace(mean=mean, rstd=rstd)

    layers = []
    for layer in state.layers:
        norm1 = norm(layer.norm1)
        layers.append(layer._replace(norm1=norm1, norm2=None if layer.norm2 is None else norm(layer.norm2)))
    transition = None if state.transition is None else (norm(state.transition[0]), state.transition[1])
    return state._replace(layers=layers, transition=transition)
