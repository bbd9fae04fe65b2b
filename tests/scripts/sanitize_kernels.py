"""Run every C++ kernel under AddressSanitizer and UndefinedBehaviorSanitizer on ragged shapes: ``make sanitize``.

Each variant that this processor can run is compiled with the sanitizers, and one with vectors of four floats, as NEON
has them. Results are compared with plain torch in float64. Fresh memory is filled with NaN, so that what a kernel reads
before it was written is seen. Each allocation of each kernel fails once, which must be a MemoryError and nothing else.
"""

import argparse
import ctypes
import os
import subprocess
import sys
import tempfile
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
FLAGS = ('-fsanitize=address,undefined', '-fno-sanitize-recover=all', '-fno-omit-frame-pointer', '-g1', '-O1')
ASAN_OPTIONS = 'detect_leaks=0:malloc_fill_byte=255:max_malloc_fill_size=2000000000'
#: (N, H, W), channels, bottleneck width, growth rate
CASES = [
    ((2, 8, 8), 40, 48, 12),
    ((3, 5, 9), 13, 10, 5),
    ((1, 3, 2), 3, 2, 1),
    ((1, 2, 2), 17, 16, 4),
    ((2, 7, 15), 33, 36, 9),
    ((1, 14, 13), 70, 128, 33),
]

#: (N, H, W), channels, width
STEMS = [((2, 9, 33), 3, 24), ((1, 1, 1), 1, 5), ((3, 16, 7), 2, 40)]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--run', nargs=2, metavar=('LIBRARY', 'VARIANT'), help=argparse.SUPPRESS)
    return parser.parse_args()


def import_ops() -> None:
    """Make mmdensenet.ops importable without mmdensenet's own imports, which take long under a sanitizer."""
    package = types.ModuleType('mmdensenet')
    package.__path__ = [str(ROOT / 'mmdensenet')]
    sys.modules['mmdensenet'] = package


def main() -> None:
    import_ops()
    from mmdensenet.ops.steps.native import build

    compiler = os.environ.get('CXX') or 'g++'
    preload = [
        subprocess.run([compiler, f'-print-file-name={name}'], capture_output=True, text=True).stdout.strip()
        for name in ('libasan.so', 'libubsan.so')
    ]
    flags = (*FLAGS, '-include', str(Path(__file__).with_name('failing_allocations.h')))
    with tempfile.TemporaryDirectory() as folder:
        variants, four = Path(folder, 'variants.so'), Path(folder, 'four.so')
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda job: build.compile_library(*job, flags=flags), [
                (variants, build.variants()), (four, {'native': ()})
            ]))  # fmt: skip
            runs = [*((variants, variant) for variant in build.variants()), (four, 'native')]
            statuses = list(pool.map(lambda pair: run_under(preload, *pair), runs))
        if any(statuses):
            sys.exit(f'failed: {", ".join(variant for (_, variant), status in zip(runs, statuses) if status)}')


def run_under(preload: list[str], path: Path, variant: str) -> int:
    """The status of :func:`run` in a process of its own."""
    env = {**os.environ, 'LD_PRELOAD': ':'.join(preload), 'ASAN_OPTIONS': ASAN_OPTIONS}
    return subprocess.run([sys.executable, __file__, '--run', path, variant], env=env).returncode


def run(path: str, variant: str) -> None:
    import_ops()
    import torch

    from mmdensenet.ops.steps.native import build, library

    torch.set_num_threads(2)
    build.native_path, build.NATIVE = lambda: Path(path), {variant: ()}
    try:
        opened = library.load()
    except library.NoKernelsError as reason:
        print(f'{variant}: {reason}', flush=True)
        return
    failures = note_calls(opened)
    for seed, case in enumerate(CASES):
        check_steps(case, seed)
        check_steps(case, seed, low=True)
        check_stage(case, seed)
    for seed, (size, channels, width) in enumerate(STEMS):
        check_stem(size, channels, width, seed)
    check_no_pixels()
    missing = set(library.declarations()) - set(failures)
    if missing:
        sys.exit(f'{variant}: never called: {", ".join(sorted(missing))}')
    print(f'{variant}: {len(failures)} kernels, {sum(failures.values())} allocations failed', flush=True)


def note_calls(opened) -> dict[str, int]:
    """Make each allocation of a kernel's first call fail; how many did, by the kernels' names, is noted."""
    failures: dict[str, int] = {}
    kernels = ctypes.CDLL(str(opened.path))
    to_fail, count = (ctypes.c_long.in_dll(kernels, name) for name in ('allocation_to_fail', 'allocations'))

    def noted(name: str, function):
        def call(*arguments):
            while name not in failures:
                count.value, to_fail.value = 0, to_fail.value + 1
                try:
                    function(*arguments)
                except MemoryError:
                    continue
                # it went through because it has fewer allocations
                assert count.value < to_fail.value, f'{name}: allocation {to_fail.value} failed and nothing was said'
                failures[name], to_fail.value = count.value, 0
                return
            function(*arguments)

        return call

    for name, function in vars(opened.functions).items():
        setattr(opened.functions, name, noted(name, function))
    return failures


def assert_close(got, want, what: str, tolerance: float) -> None:
    error = ((got.double() - want).norm() / want.norm().clamp_min(1e-6)).item()
    assert error <= tolerance, f'{what}: {error:.2g}'  # NaN is not


def results(steps, case, seed: int, dtype: str, low: bool = False) -> dict:
    """All steps, with the same random numbers for the same seed; with ``low`` those of bfloat16 in any type."""
    import torch

    torch.manual_seed(seed)
    shape, c, j, k = case
    (n, h, w), m = shape, shape[0] * shape[1] * shape[2]
    dtype = getattr(torch, dtype)
    wide = torch.promote_types(dtype, torch.float32)

    def rows(count: int, channels: int, more: int = 0) -> torch.Tensor:
        values = torch.randn(count, channels)
        # a view whose last row ends with the memory
        return torch.empty(count, channels + more, dtype=dtype)[:, more:].copy_(values.bfloat16() if low else values)

    def vectors(count: int, channels: int) -> list[torch.Tensor]:
        return [torch.randn(channels).to(wide) for _ in range(count)]

    features, y, grad_y, grad_new = rows(m, c, 5), rows(m, j, 3), rows(m, j), rows(m, k, 4)
    grad_pooled, grad_max = rows(n * (h // 2) * (w // 2), j), rows(n * ((h + 1) // 2) * ((w + 1) // 2), c)
    into = [rows(m, c, 5) for _ in range(3)]
    w1, w2, w3 = (torch.randn(*size).to(wide) for size in ((j, c), (k, j, 3, 3), (k, c, 3, 3)))
    scale, shift, mean, coefficient, rstd, other = vectors(6, c)
    scale2, shift2, mean2 = vectors(3, j)
    mask, new, last = rows(m, k), rows(m, k, 2), rows(m, k, 2)
    return dict(
        statistics=steps.statistics(features),
        matmul=steps.norm_relu_matmul(features, scale, shift, w1),
        matmul_backward=steps.norm_relu_matmul_backward(features, scale, shift, mean, w1, grad_y, coefficient, into[0]),
        pool=steps.norm_relu_pool_matmul(features, scale, shift, w1, shape)[:1],
        pool_backward=steps.norm_relu_pool_matmul_backward(
            features, scale, shift, mean, w1, shape, grad_pooled, coefficient, into[1], overwrite=True
        ),
        conv=steps.norm_relu_conv3x3(y, scale2, shift2, w2, shape, new),
        masked=steps.norm_relu_conv3x3(
            y, None, shift2, w2.contiguous(memory_format=torch.channels_last), shape, last, mask
        ),
        conv_backward=steps.norm_relu_conv3x3_backward(y, scale2, shift2, mean2, w2, shape, grad_new),
        channels_last=steps.norm_relu_conv3x3_backward(
            y, scale2, shift2, mean2, w2.contiguous(memory_format=torch.channels_last), shape, grad_new
        ),
        conv_into=steps.norm_relu_conv3x3_backward_into(
            features, scale, shift, mean, w3, shape, grad_new, coefficient, into[2]
        ),
        max_pool=[steps.norm_relu_max_pool(features, scale, shift, shape)],
        max_pool_backward=steps.norm_relu_max_pool_backward(features, scale, shift, mean, shape, grad_max),
        sums=steps.batch_norm_backward_sums(into[0], features, mean),
        correction=[
            steps.batch_norm_backward(into[0], features, mean, rstd, coefficient, other, shift, m, add=features),
            steps.batch_norm_backward(into[1], features, mean, rstd, coefficient, other, shift, m),
        ],
        into=into,
        new=[new, last],
    )


def check_steps(case, seed: int, low: bool = False) -> None:
    """In float32, or with ``low`` in bfloat16."""
    from mmdensenet.ops.steps import native
    from mmdensenet.ops.steps.plain import plain_steps as plain

    steps, dtype = (native.bfloat16_steps, 'bfloat16') if low else (native.float32_steps, 'float32')
    got, want = results(steps, case, seed, dtype, low), results(plain, case, seed, 'float64', low)
    for name, values in want.items():
        # which of several equal values is the largest is decided by rounding
        tolerance = 1e-4 if not low else 0.6 if name == 'max_pool_backward' else 0.1
        for i, value in enumerate(values):
            assert_close(got[name][i], value, f'{name} {i} of {case}', tolerance)


def check_stage(case, seed: int) -> None:
    import torch

    from mmdensenet.ops.steps.native import float32_steps as native
    from mmdensenet.ops.steps.plain import plain_steps as plain

    torch.manual_seed(seed)
    shape, c0, j, k = case
    m = shape[0] * shape[1] * shape[2]

    def norm(channels: int) -> list:
        return [torch.randn(channels), torch.randn(channels), torch.randn(channels), torch.rand(channels) + 0.5]

    def affine(values: list) -> tuple:
        weight, bias, mean, var = (value.double() for value in values)
        scale = weight / (var + 1e-5).sqrt()
        return scale, bias - mean * scale

    layers = [
        [*norm(c), torch.randn(j, c, 1, 1) / c, *norm(j), torch.randn(k, j, 3, 3) / j] for c in (c0, c0 + k, c0 + 2 * k)
    ]
    last = c0 + 3 * k
    transition = [*norm(last), torch.randn(11, last, 1, 1)]
    x = torch.randn(m, c0)
    features, out = native.evaluate_stage(x, shape, layers, transition, 1e-5, True)
    want = x.double()
    for layer in layers:
        y, *_ = plain.norm_relu_matmul(want, *affine(layer[:4]), layer[4].double().flatten(1))
        new = y.new_empty(m, k)
        plain.norm_relu_conv3x3(y, *affine(layer[5:9]), layer[9].double(), shape, new)
        want = torch.cat([want, new], 1)
    assert_close(features, want, f'features of {case}', 1e-4)
    pooled, *_ = plain.norm_relu_pool_matmul(want, *affine(transition[:4]), transition[4].double().flatten(1), shape)
    assert_close(out, pooled, f'transition of {case}', 1e-4)
    assert torch.equal(native.evaluate_stage(x, shape, layers, transition, 1e-5, False)[1], out)
    for layer in layers:
        layer[9] = layer[9].contiguous(memory_format=torch.channels_last)
    features, _ = native.evaluate_stage(x, shape, layers, None, 1e-5, True)
    assert_close(features, want, f'features of {case}, channels last', 1e-4)


def check_stem(size, channels: int, width: int, seed: int) -> None:
    import torch
    import torch.nn.functional as F

    from mmdensenet.ops.steps.native import float32_steps as native

    torch.manual_seed(seed)
    n, h, w = size
    x, weight, scale, shift = torch.randn(n, channels, h, w), torch.randn(width, channels, 7, 7), *torch.randn(2, width)
    z = F.conv2d(x.double(), weight.double(), stride=2, padding=3) * scale[:, None, None] + shift[:, None, None]
    want = F.max_pool2d(z.relu(), 3, 2, 1).permute(0, 2, 3, 1).reshape(-1, width)
    for memory_format in (torch.contiguous_format, torch.channels_last):
        got = native.evaluate_stem(x.contiguous(memory_format=memory_format), weight, scale, shift)
        assert_close(got, want, f'stem {size}', 1e-4)


def check_no_pixels() -> None:
    """Images without pixels, and no images: nothing is read or written, and sums are zero."""
    import torch

    from mmdensenet.ops.steps.native import float32_steps as native

    for n, h, w in ((0, 4, 4), (2, 0, 3), (2, 3, 0)):
        shape, c, k = (n, h, w), 5, 4
        rows, empty, vector, weight = torch.randn(0, c), torch.randn(0, k), torch.randn(c), torch.randn(k, c, 3, 3)
        native.norm_relu_conv3x3(rows, vector, vector, weight, shape, empty)
        _, *sums = native.norm_relu_conv3x3_backward(rows, vector, vector, vector, weight, shape, empty)
        sums += native.norm_relu_max_pool_backward(
            rows, vector, vector, vector, shape, torch.randn(n * ((h + 1) // 2) * ((w + 1) // 2), c)
        )[1:]
        sums += native.norm_relu_matmul_backward(
            rows, vector, vector, vector, weight[..., 0, 0], empty, vector, torch.randn(0, c)
        )
        sums += native.batch_norm_backward_sums(rows, rows, vector)
        assert not any(total.any() for total in sums)
        native.norm_relu_max_pool(rows, vector, vector, shape)
        native.norm_relu_pool_matmul(rows, vector, vector, weight[..., 0, 0], shape)
        native.evaluate_stem(torch.randn(n, 3, h, w), torch.randn(k, 3, 7, 7), *torch.randn(2, k))


if __name__ == '__main__':
    given = parse_args()
    run(*given.run) if given.run else main()
