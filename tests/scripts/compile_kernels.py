"""Compile the Triton kernels for GPUs that this machine does not have, as the launchers would use them.

    python tests/scripts/compile_kernels.py bfloat16 float32 --networks densenet121 densenet-bc-190-40 --targets 80 90

The launchers run on meta tensors of a network's training step, so block sizes, strides and specialisations are the
real ones; a launch compiles instead of running. Prints one row for each compiled kernel as JSON: registers a thread,
bytes of shared memory, bytes of stack, which is where registers spill to, how many programs run at a time on a
multiprocessor, and which share of its warps they are. A module of its own, for tests run it in a process without
Triton's interpreter.
"""

import argparse
import itertools
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

os.environ.pop('TRITON_INTERPRET', None)

import torch

from mmdensenet.ops.steps.triton import conv
from mmdensenet.ops.steps.triton import triton_steps as kernels

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from benchmarks.offline import LIMITS, compiling, programs_at_once, resources

#: name: batch, pixels of the first block's side, input channels, growth rate, bottleneck's width / growth rate, depths
NETWORKS = {
    'densenet121': (256, 56, 64, 32, 4, (6, 12, 24, 16)),
    'densenet161': (64, 56, 96, 48, 4, (6, 12, 36, 24)),
    'densenet121-one-image': (1, 56, 64, 32, 4, (6, 12, 24, 16)),
    'densenet-bc-100-12': (64, 32, 24, 12, 4, (16, 16, 16)),
    'densenet-bc-250-24': (64, 32, 48, 24, 4, (41, 41, 41)),
    'densenet-bc-190-40': (64, 32, 80, 40, 4, (31, 31, 31)),
    'densenet-40-12': (64, 32, 16, 12, 0, (12, 12, 12)),
}


def layers(name: str) -> Iterator[tuple]:
    """(shape, channels, columns, growth rate, channels of the buffer, is it the transition) for some of the layers."""
    batch, side, channels, growth_rate, bottleneck, depths = NETWORKS[name]
    for i, depth in enumerate(depths):
        width = channels + depth * growth_rate
        shape = (batch, side, side)
        for layer in sorted({0, 1, depth // 2, depth - 1}):
            yield shape, channels + layer * growth_rate, bottleneck * growth_rate, growth_rate, width, False
        if i < len(depths) - 1:
            channels, side = width // 2, side // 2
            yield shape, width, channels, growth_rate, width, True


def stem(name: str, dtype) -> None:
    """The launches of the stem's pooling, forward and backward; the networks for CIFAR have none."""
    batch, side, channels, *_ = NETWORKS[name]
    if side != 56:
        return
    shape, vector = (batch, 2 * side, 2 * side), torch.empty(channels, device='meta')
    rows = torch.empty(batch * 4 * side * side, channels, device='meta', dtype=dtype)
    out = kernels.norm_relu_max_pool(rows, vector, vector, shape)
    kernels.norm_relu_max_pool_backward(rows, vector, vector, vector, shape, out)


def step(shape, c, j, k, width, is_transition, dtype) -> None:
    """The launches of one layer's forward and backward."""
    m = shape[0] * shape[1] * shape[2]

    def meta(*size, dtype=torch.float32):
        return torch.empty(size, device='meta', dtype=dtype)

    buffer, grads = meta(m, width, dtype=dtype), meta(m, width, dtype=dtype)
    x, accumulator, vector = buffer[:, :c], grads[:, :c], meta(c)
    kernels.statistics(x)
    if is_transition:
        out, *_ = kernels.norm_relu_pool_matmul(x, vector, vector, meta(j, c), shape)
        kernels.norm_relu_pool_matmul_backward(
            x, vector, vector, vector, meta(j, c), shape, out, vector, accumulator, overwrite=True
        )
        return
    if j:
        y, *_ = kernels.norm_relu_matmul(x, vector, vector, meta(j, c))
        for overwrite in (False, True):
            kernels.norm_relu_matmul_backward(
                x, vector, vector, vector, meta(j, c), y, vector, accumulator, overwrite=overwrite
            )
    else:
        y, j = x, c
    for implicit, mask in itertools.product((True, False), (None, meta(m, k))):
        conv.IMPLICIT = implicit
        kernels.norm_relu_conv3x3(y, meta(j), meta(j), meta(k, j, 3, 3), shape, buffer[:, c : c + k], mask)
    grad = kernels.batch_norm_backward(
        grads[:, c : c + k], buffer[:, c : c + k], *(meta(k) for _ in range(5)), m, add=grads[:, c : c + k]
    )
    kernels.batch_norm_backward_sums(grads[:, c : c + k], buffer[:, c : c + k], meta(k))
    dz, *_ = kernels.norm_relu_conv3x3_backward(y, meta(j), meta(j), meta(j), meta(k, j, 3, 3), shape, grad)
    kernels.batch_norm_backward(dz, y, *(meta(j) for _ in range(5)), m, out=dz)
    kernels.new_norm(meta(j), meta(j), 1e-5, meta(j), meta(j))
    kernels.extend_norm(meta(k), meta(k), meta(width), meta(width), meta(width), c, 1e-5, vector, vector)


def compile_all(networks: list[str], dtypes: list[str], targets: list[int], only: str = '') -> Iterator[dict]:
    """One row for each different kernel of these networks."""
    seen = set()
    for target, dtype, network in itertools.product(targets, dtypes, networks):
        rows = []

        def launch(kernel, grid, *args, dtype=dtype, target=target, network=network, rows=rows, **meta):
            if only not in kernel.__name__:
                return
            compiled = kernel.warmup(*args, grid=grid, **meta)
            key = target, compiled.hash
            if key in seen:
                return
            seen.add(key)
            assert all(size < limit for size, limit in zip(grid[1:], (65536, 65536))), grid
            used = resources(compiled)
            warps = compiled.metadata.num_warps
            programs = programs_at_once(used['registers'], used['shared'], warps, target)
            rows.append(
                dict(
                    target=target,
                    dtype=dtype,
                    network=network,
                    kernel=kernel.__name__.removesuffix('_kernel'),
                    **used,
                    programs=programs,
                    occupancy=programs * warps / LIMITS[target][1],
                    meta=meta,
                    grid=grid,
                )
            )

        with compiling(target, launch):
            stem(network, getattr(torch, dtype))
            for layer in layers(network):
                step(*layer, getattr(torch, dtype))
                yield from rows
                rows.clear()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('dtypes', nargs='+')
    parser.add_argument('--networks', nargs='+', default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument('--targets', nargs='+', type=int, default=[80, 90])
    parser.add_argument('--kernel', default='', help='only kernels whose name has this')
    parser.add_argument('--tf32', action='store_true')
    args = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = args.tf32
    for row in compile_all(args.networks, args.dtypes, args.targets, args.kernel):
        print(json.dumps(row), flush=True)


if __name__ == '__main__':
    main()
