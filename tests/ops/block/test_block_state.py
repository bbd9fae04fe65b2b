"""What a fused block saves for backward: how much, and that autograd returns it as it was."""

from types import SimpleNamespace

import pytest
import torch
from fused_blocks import saved_bytes

from mmdensenet.models import DenseBlock
from mmdensenet.ops.block.block_state import BlockState, LayerState, NormState, pack, unpack, with_running_statistics


def test_packed_and_unpacked():
    numbers = iter(torch.arange(30.0).split(1))

    def norm():
        return NormState(*(next(numbers) for _ in range(5)))

    plain = LayerState(norm(), next(numbers), None, None, None, None, None)
    bottleneck = LayerState(norm(), next(numbers), norm(), *(next(numbers) for _ in range(3)), None)
    state = BlockState(next(numbers), [plain, bottleneck], (norm(), next(numbers)), None, 7)
    x_stand_in, statistics = torch.tensor(-1.0), [torch.tensor([4.0 * i]) for i in range(8)]
    ctx = SimpleNamespace(save_for_backward=lambda *tensors: vars(ctx).update(saved_tensors=tensors))
    pack(ctx, state, x_stand_in, statistics)
    assert all(isinstance(tensor, torch.Tensor | None) for tensor in ctx.saved_tensors)
    assert unpack(ctx) == (state, x_stand_in, statistics)

    current = with_running_statistics(state, statistics, eps=0.0)
    norms = [current.layers[0].norm1, *(current.layers[1][i] for i in (0, 2)), current.transition[0]]
    means, rstds = zip(*((norm.mean.item(), norm.rstd.item()) for norm in norms))
    assert means == (0, 8, 16, 24) and rstds == pytest.approx([variance**-0.5 for variance in (4, 12, 20, 28)])
    assert current.layers[1].y is state.layers[1].y and norms[0].scale is plain.norm1.scale


def test_memory_is_linear_in_depth():
    """Bytes saved for backward: one buffer and the bottlenecks, against copies of all earlier features per layer."""

    def saved(engine, depth):
        block = DenseBlock(depth, 8, 2, 4, engine=engine)
        return saved_bytes(block, torch.randn(2, 8, 16, 16, requires_grad=True))

    ref8, ref32 = saved('reference', 8), saved('reference', 32)
    fused8, fused32 = saved('fused', 8), saved('fused', 32)
    assert fused32 < 5 * fused8 and ref32 > 8 * ref8
    assert fused32 < 0.2 * ref32
