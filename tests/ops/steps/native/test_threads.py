"""OpenMP may grant fewer threads than are asked for, and there is one pool of threads."""

import ctypes
import os
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mmdensenet.ops.steps import native
from mmdensenet.ops.steps.native import float32_steps, library
from mmdensenet.ops.steps.passes import Sums

SHAPE, C, J, K = (3, 16, 15), 37, 40, 10
#: glibc's: fresh memory gets the complement of this byte, so large negative numbers
PERTURB = -6


def results() -> dict[str, Tensor]:
    """Of each step that has parts for each thread; the same random numbers each time."""
    torch.manual_seed(0)
    (n, h, w), m = SHAPE, SHAPE[0] * SHAPE[1] * SHAPE[2]
    features, y, grad_y, grad_new = (torch.randn(m, width) for width in (C, J, J, K))
    grad_pooled, grad_max = torch.randn(n * (h // 2) * (w // 2), J), torch.randn(n * ((h + 1) // 2) * ((w + 1) // 2), C)
    w1, w2 = torch.randn(J, C), torch.randn(K, J, 3, 3)
    scale, shift, mean = torch.randn(3, C)
    scale2, shift2, mean2 = torch.randn(3, J)
    new, into = torch.empty(m, K), torch.zeros(2, m, C)
    low = native.steps_of(torch.bfloat16)
    found = dict(
        statistics=float32_steps.statistics(features),
        statistics_bfloat16=low.statistics(features.bfloat16()),
        matmul=float32_steps.norm_relu_matmul(features, scale, shift, w1),
        matmul_backward=float32_steps.norm_relu_matmul_backward(
            features, scale, shift, mean, w1, grad_y, scale, into[0]
        ),
        pool_backward=float32_steps.norm_relu_pool_matmul_backward(
            features, scale, shift, mean, w1, SHAPE, grad_pooled, scale, into[1]
        ),
        conv=float32_steps.norm_relu_conv3x3(y, scale2, shift2, w2, SHAPE, new),
        conv_backward=float32_steps.norm_relu_conv3x3_backward(y, scale2, shift2, mean2, w2, SHAPE, grad_new),
        max_pool=[float32_steps.norm_relu_max_pool(features, scale, shift, SHAPE)],
        max_pool_backward=float32_steps.norm_relu_max_pool_backward(features, scale, shift, mean, SHAPE, grad_max),
        sums=float32_steps.batch_norm_backward_sums(y, y, mean2),
        stem=[float32_steps.evaluate_stem(torch.randn(2, 3, 65, 63), torch.randn(24, 3, 7, 7), *torch.randn(2, 24))],
        consumed=consumed(features.bfloat16(), grad_y[:, :C].bfloat16(), mean),
        into=[into, new],
    )
    return {f'{name} {i}': value for name, group in found.items() for i, value in enumerate(group)}


def consumed(rows: Tensor, grad: Tensor, mean: Tensor) -> tuple[Tensor, ...]:
    # not the steps that need it: torch's own products of bfloat16 are wrong when OpenMP grants fewer threads
    sums, out = Sums(mean), torch.empty_like(rows)
    native.bfloat16_steps.passes.consume(grad, rows, rows, mean, None, out, True, sums)
    return sums.dz, sums.centred, out.float()


def check(got: dict[str, Tensor], want: dict[str, Tensor]):
    for name, value in want.items():
        # sums in another order
        torch.testing.assert_close(got[name], value, rtol=0, atol=1e-4 * value.abs().max().item(), msg=name)


@pytest.fixture
def openmp(native_kernels):
    return ctypes.CDLL(None)


@pytest.mark.parametrize('granted', ['one', 'dynamic', 'all'])
def test_fewer_threads_than_asked_for(granted, openmp):
    want = results()
    levels = openmp.omp_get_max_active_levels()
    try:
        openmp.mallopt(PERTURB, 1)
        torch.set_num_threads(4)
        if granted == 'one':
            openmp.omp_set_max_active_levels(0)
        elif granted == 'dynamic':
            openmp.omp_set_dynamic(1)
        check(results(), want)
    finally:
        openmp.omp_set_max_active_levels(levels)
        openmp.omp_set_dynamic(0)
        openmp.mallopt(PERTURB, 0)
        torch.set_num_threads(1)


@pytest.mark.slow
@pytest.mark.parametrize('limit', [{'OMP_THREAD_LIMIT': '1'}, {'OMP_DYNAMIC': 'true'}, {'OMP_THREAD_LIMIT': '3'}])
def test_limits_of_the_environment(limit, run_command, native_kernels, tmp_path):
    torch.save(results(), tmp_path / 'want.pt')
    opened = library.load()
    done = run_command(
        sys.executable, '-c',
        'import sys, torch; sys.path.insert(0, sys.argv[1])\n'
        'from mmdensenet.ops.steps.native import build, library\n'
        'build.native_path = lambda: __import__("pathlib").Path(sys.argv[3])\n'
        'build.NATIVE = {sys.argv[4]: ()}\n'
        'import test_threads; torch.set_num_threads(4)\n'
        'test_threads.check(test_threads.results(), torch.load(sys.argv[2]))',
        Path(__file__).parent, tmp_path / 'want.pt', opened.path, opened.variant, MALLOC_PERTURB_='1', **limit,
    )  # fmt: skip
    assert done.status == 0, done.err


def test_one_pool_of_threads(native_kernels):
    """The kernels' threads are torch's: no more are there after both have computed."""
    torch.set_num_threads(3)
    try:
        torch.randn(400, 400) @ torch.randn(400, 400)
        torch.randn(300_000).exp()
        before = len(os.listdir('/proc/self/task'))
        float32_steps.statistics(torch.randn(10_000, 16))
        assert len(os.listdir('/proc/self/task')) == before >= 3
    finally:
        torch.set_num_threads(1)
