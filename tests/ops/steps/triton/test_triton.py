"""The Triton kernels together: where they run, the same bits twice, and that they compile for GPUs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support.triton_kernels import DEVICE, rows, triton, vectors

from mmdensenet.ops.steps.triton import matmul_backward, why_not
from mmdensenet.ops.steps.triton import triton_steps as kernels


@pytest.mark.parametrize('fused', [True, False], ids=['one kernel', 'two kernels'])
def test_two_runs_give_the_same_bits(fused, monkeypatch):
    monkeypatch.setattr(matmul_backward, 'has_wgmma', lambda device: fused)
    shape, c, j, k = (3, 8, 8), 40, 48, 12
    m = shape[0] * shape[1] * shape[2]
    x, y, grad, start = (rows(m, width, torch.bfloat16) for width in (c, j, j, c))
    weight, weight3 = torch.randn(j, c, device=DEVICE), torch.randn(k, j, 3, 3, device=DEVICE)
    (scale, shift, mean), (scale2, shift2) = vectors(c, 3), vectors(j)

    def run():
        accumulator, out = start.clone(), torch.empty(m, k, dtype=torch.bfloat16, device=DEVICE)
        inputs = x, scale, shift, mean, weight
        return [
            *kernels.statistics(x),
            *kernels.norm_relu_matmul(x, scale, shift, weight),
            *kernels.norm_relu_conv3x3(y, scale2, shift2, weight3, shape, out),
            *kernels.norm_relu_matmul_backward(*inputs, grad, scale, accumulator),
            *kernels.norm_relu_pool_matmul_backward(*inputs, shape, grad[: m // 4], scale, accumulator),
            accumulator,
            out,
        ]

    assert all(torch.equal(first, second) for first, second in zip(run(), run()))


def test_why_not():
    assert why_not(torch.device(DEVICE), torch.float32) is None
    assert 'not float64' in why_not(torch.device(DEVICE), torch.float64)


def test_why_not_on_other_devices(monkeypatch):
    monkeypatch.setattr(triton.knobs.runtime, 'interpret', False)
    assert 'need a CUDA GPU' in why_not(torch.device('cpu'), torch.float32)


def compiled(*args, timeout):
    """Rows of compile_kernels.py, in a process without the interpreter."""
    script = Path(__file__).parents[3] / 'scripts' / 'compile_kernels.py'
    done = subprocess.run([sys.executable, script, *args], capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def assert_fits(compiled_rows):
    for row in compiled_rows:
        # consumer GPUs of the generation of 8.0 lend a program 99 KiB
        assert row['shared'] <= (99 if row['target'] == 80 else 227) * 1024, row
        # the assembler itself spills up to a few registers to run more programs at a time; more is a tile too large
        assert row['stack'] <= 16, row
        # fewer warps than an eighth of what a multiprocessor holds do not hide the memory's latency
        assert row['occupancy'] >= 1 / 8, row


@pytest.mark.slow
def test_kernels_compile_for_hopper_without_spilling():
    done = compiled('bfloat16', '--networks', 'densenet121', '--targets', '90', '--kernel', 'norm_relu_', timeout=300)
    names = {row['kernel'] for row in done}
    assert names >= {'norm_relu_matmul', 'norm_relu_matmul_backward', 'norm_relu_conv3x3', 'norm_relu'}
    assert names >= {'norm_relu_max_pool', 'norm_relu_max_pool_backward'}
    assert_fits(done)
    assert all(row['stack'] == 0 for row in done)


@pytest.mark.slow
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16', 'float16'])
@pytest.mark.parametrize('target', ['80', '90', '100'])
def test_all_kernels_compile(target, dtype):
    networks = 'densenet121', 'densenet161', 'densenet121-one-image', 'densenet-bc-100-12', 'densenet-bc-190-40'
    done = compiled(dtype, '--targets', target, '--networks', *networks, timeout=900)
    assert {row['kernel'] for row in done} >= {'grad_input', 'grad_weight', 'sum_partials', 'merge_statistics'}
    assert_fits(done)
