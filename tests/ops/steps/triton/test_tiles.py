"""The table of measured tiles: which entry a launch takes, and that its results stay right."""

import json

import pytest
import torch
from support.triton_kernels import DEVICE

from mmdensenet.ops.steps.triton import common, conv, matmul, matmul_backward, matmul_grads, norm, norm_backward, tiles
from mmdensenet.ops.steps.triton import triton_steps as kernels

CHIP = tiles.chip(torch.device(DEVICE))
SIDES = ('BLOCK_M', 'BLOCK_C', 'BLOCK_J')


def entry(rows, columns, channels, tile, size=2, aligned=True):
    return dict(rows=rows, columns=columns, channels=channels, bytes=size, aligned=aligned, **tile)


def test_the_nearest_entry_is_taken():
    table = {'9.0': {'kernel': [entry(m, 128, c, dict(BLOCK_M=m + c)) for m in (1024, 4096) for c in (64, 256)]}}
    with tiles.using(table):

        def found(rows, columns, channels, size=2, aligned=True, chip='9.0', kernel='kernel'):
            return tiles.measured(chip, kernel, rows, columns, channels, size, aligned)

        assert found(1024, 128, 64) == dict(BLOCK_M=1024 + 64)
        assert found(900, 128, 100) == dict(BLOCK_M=1024 + 64)
        assert found(2500, 128, 200) == dict(BLOCK_M=4096 + 256)
        # the farthest that count, and beyond
        assert found(512, 128, 512) == dict(BLOCK_M=1024 + 256)
        assert found(511, 128, 256) is None and found(1024, 128, 513) is None and found(8193, 128, 64) is None
        # what must be the same
        assert found(1024, 96, 64) is None and found(1024, 128, 64, size=4) is None
        assert found(1024, 128, 64, aligned=False) is None
        assert found(1024, 128, 64, chip='8.0') is None and found(1024, 128, 64, kernel='other') is None


def test_an_entry_replaces_the_rule_but_not_the_columns():
    rule = dict(FIRST=64, SECOND=32, BLOCK_M=128, BLOCK_C=32, num_warps=8, num_stages=4, maxnreg=128)
    tile = dict(BLOCK_M=64, BLOCK_C=64, num_warps=4, num_stages=2)
    with tiles.using({'9.0': {'kernel': [entry(100, 96, 64, tile)]}}):
        assert tiles.choose(rule, '9.0', 'kernel', 100, 96, 64, 2, True) == dict(FIRST=64, SECOND=32, **tile)
        assert tiles.choose(rule, '9.0', 'kernel', 100, 96, 640, 2, True) == rule
    assert tiles.choose(rule, '9.0', 'kernel', 100, 96, 64, 2, True) == rule


def run(dtype):
    """Results of every kernel with a tile, and the sides of the tiles they were launched with, by kernel."""
    torch.manual_seed(0)
    shape, c, j, k = (2, 8, 8), 40, 48, 16
    m = 128

    def rows(*size):
        return torch.randn(*size, device=DEVICE).to(dtype)

    x, y, grad, accumulator, out = rows(m, c), rows(m, j), rows(m, j), rows(m, c), rows(m, k)
    weight, weight3 = torch.randn(j, c, device=DEVICE), torch.randn(k, j, 3, 3, device=DEVICE)
    scale, shift, mean, rstd, coefficient = (torch.randn(c, device=DEVICE) for _ in range(5))
    vector = torch.randn(j, device=DEVICE)
    launched = {}

    def launch(kernel, grid, *args, **meta):
        launched[kernel.__name__.removesuffix('_kernel')] = {side: meta[side] for side in SIDES if side in meta}
        common.launch(kernel, grid, *args, **meta)

    with pytest.MonkeyPatch.context() as patch:
        for module in (conv, matmul, matmul_backward, matmul_grads, norm, norm_backward):
            patch.setattr(module, 'launch', launch)
        operands = x, scale, shift, mean, weight
        results = [
            *kernels.statistics(x),
            *kernels.norm_relu_matmul(x, scale, shift, weight),
            *kernels.norm_relu_conv3x3(y, vector, vector, weight3, shape, out),
            out,
            *kernels.batch_norm_backward_sums(grad, y, vector),
            kernels.batch_norm_backward(x, x, mean, rstd, coefficient, scale, shift, m),
            norm.norm_relu(x, scale, shift),
        ]
        for fused in (True, False):
            patch.setattr(matmul_backward, 'has_wgmma', lambda device, fused=fused: fused)
            results += kernels.norm_relu_matmul_backward(*operands, grad, coefficient, accumulator)
        small = grad[: m // 4]
        results += kernels.norm_relu_pool_matmul_backward(*operands, shape, small, coefficient, accumulator)
        results += [accumulator]
    return results, launched


@pytest.mark.slow
def test_results_are_the_same_with_other_tiles():
    """The tile changes the order of sums alone, so a tile that loses rows or columns shows."""
    plain, rule = run(torch.bfloat16)
    square = dict(BLOCK_M=16, BLOCK_C=16, num_warps=4, num_stages=2)
    tile = {
        **dict.fromkeys(('norm_relu_matmul', 'norm_relu_conv3x3'), square),
        **dict.fromkeys(('grad_input', 'grad_input_pool'), square | dict(BLOCK_J=16)),
        **dict.fromkeys(('grad_weight', 'grad_weight_pool'), square | dict(BLOCK_J=16, programs=3)),
        **dict.fromkeys(
            ('norm_relu_matmul_backward', 'statistics', 'batch_norm_sums', 'batch_norm_backward', 'norm_relu'),
            square | dict(programs=3),
        ),
    }
    table = {
        name: [
            entry(m, columns, channels, value)
            for m in (32, 128)
            for columns, channels in ((48, 40), (16, 48), (40, 40), (48, 48))
        ]
        for name, value in tile.items()
    }
    with tiles.using({CHIP: table}):
        other, launched = run(torch.bfloat16)
    assert launched.keys() == rule.keys() and len(launched) == 9
    for name, sides in launched.items():
        assert set(sides.values()) == {16}, name
        assert sides != rule[name], name
    for i, (actual, expected) in enumerate(zip(other, plain, strict=True)):
        if expected is not None:
            # a sum in another order rounds a bfloat16 to its neighbour now and then
            difference = (actual.double() - expected.double()).norm() / expected.double().norm()
            assert difference < 2e-3, (i, difference)


def test_a_measured_way_of_the_3x3():
    """cuDNN's way writes the activation with a kernel of its own, the implicit product does not."""
    for implicit in (False, True):
        table = {'conv3x3_way': [entry(128, 16, 48, dict(implicit=implicit))]}
        with tiles.using({CHIP: table}):
            assert conv.is_implicit(128, 16, 48, torch.bfloat16, 16, 'ieee', CHIP) is implicit
            assert conv.is_implicit(128, 16, 480, torch.bfloat16, 16, 'ieee', CHIP) is True


def test_the_committed_table_is_well_formed():
    """A wrong entry would be found on a GPU of its capability alone."""
    table = json.loads(tiles.FILE.read_text())
    for chip, names in table.items():
        assert chip.replace('.', '').isdigit(), chip
        for name, entries in names.items():
            for item in entries:
                assert set(tiles.SHAPE) < set(item), (chip, name, item)
                assert all(value & (value - 1) == 0 for key, value in item.items() if key in SIDES), (chip, name, item)
