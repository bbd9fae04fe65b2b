"""The launches that are tuned, of DenseNet-121 and of a BC-100-12, and the tiles that may be faster than the rule's."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

#: kernels in the order of what there is to win; the time they took of a step of 121 at batch 256 on an H200
KERNELS = (
    'norm_relu_matmul_backward',
    'norm_relu_conv3x3',
    'batch_norm_sums',
    'norm_relu_matmul',
    'batch_norm_backward',
    'masked_sums',
    'grad_input',
    'grad_weight',
    'grad_input_pool',
    'grad_weight_pool',
    'norm_relu_pool_matmul',
    'norm_relu',
    'statistics',
    'copy_with_statistics',
)
#: those whose programs take several tiles each
REDUCTIONS = {
    'norm_relu_matmul_backward': (1, 2, 3, 4),
    'grad_weight': (1, 2, 3, 4, 6),
    'grad_weight_pool': (1, 2, 3, 4, 6),
    **dict.fromkeys(('batch_norm_sums', 'masked_sums', 'statistics', 'copy_with_statistics'), (2, 4, 8, 16, 32)),
}


@dataclass(frozen=True)
class Case:
    """A launch: images (N, H, W), channels that are read, columns that are written, channels of the buffer's row."""

    kernel: str
    shape: tuple[int, int, int]
    channels: int
    columns: int
    width: int
    growth_rate: int = 32
    dtype: str = 'bfloat16'

    @property
    def group(self) -> tuple:
        """Cases that compile to the same kernel for a tile."""
        aligned = math.gcd(16, self.channels, self.width)
        return self.kernel, self.columns if self.matrix else min(128, self.channels), aligned, self.dtype

    @property
    def matrix(self) -> bool:
        """Whether it multiplies matrices."""
        return 'matmul' in self.kernel or 'conv' in self.kernel or self.kernel.startswith('grad_')

    def __str__(self) -> str:
        n, h, w = self.shape
        return f'{self.kernel} {n}x{h}x{w}x{self.channels}->{self.columns} of {self.width}'


def _stages(batch: int, side: int, channels: int, growth_rate: int, depths: tuple[int, ...]) -> Iterator[tuple]:
    for depth in depths:
        width = channels + depth * growth_rate
        yield (batch, side, side), channels, width, depth
        channels, side = width // 2, side // 2


def cases(kernel: str, dry: bool = False) -> list[Case]:
    """The launches at which a kernel is measured."""
    if dry:
        networks = [(1, 4, 32, 16, (1, 1))]
    else:
        networks = [
            (256, 56, 64, 32, (6, 12, 24, 16)),
            (64, 56, 64, 32, (6, 12, 24, 16)),
            (64, 32, 24, 12, (16, 16, 16)),
        ]
    found = {}
    for number, (batch, side, first, k, depths) in enumerate(networks):
        stages = list(_stages(batch, side, first, k, depths))
        for i, (shape, c0, width, depth) in enumerate(stages):
            layers = (0, depth // 2, depth - 1) if number == 0 else (0, depth - 1)
            b = 4 * k
            if kernel in ('norm_relu_matmul', 'norm_relu_matmul_backward', 'grad_input', 'grad_weight'):
                made = [Case(kernel, shape, c0 + layer * k, b, width, k) for layer in layers]
            elif kernel == 'norm_relu_conv3x3':
                made = [Case(kernel, shape, b, k, b, k)]
            elif kernel in ('norm_relu', 'masked_sums'):
                made = [Case(kernel, shape, b, b, b, k)]
            elif kernel == 'batch_norm_backward':
                made = [Case(kernel, shape, b, b, b, k), Case(kernel, shape, k, k, width, k)]
                made += [Case(kernel, shape, c0, c0, width, k)]
            elif kernel == 'batch_norm_sums':
                made = [Case(kernel, shape, k, k, width, k), Case(kernel, shape, c0, c0, width, k)]
            elif kernel == 'statistics':
                made = [Case(kernel, shape, c0, c0, width, k)]
            elif kernel == 'copy_with_statistics':
                made = [Case(kernel, shape, k, k, width, k)]
            else:  # the transition, behind all stages but the last
                made = [Case(kernel, shape, width, width // 2, width, k)] if i < len(stages) - 1 else []
            for case in made:
                rows = case.shape[0] * case.shape[1] * case.shape[2]
                found.setdefault((rows, case.channels, case.columns), case)
    return list(found.values())


def tiles(case: Case, dry: bool = False) -> list[dict[str, int]]:
    """Tiles for a case's kernel that fit on the chip, roughly; the compiler says which do."""
    if not case.matrix:
        width = max(16, min(128, 1 << (case.channels - 1).bit_length()))
        widths = {width, max(16, width // 2)}
        sizes = product(sorted(widths), (2048, 4096, 8192), (4, 8))
        made = [dict(BLOCK_M=size // w, BLOCK_C=w, num_warps=warps) for w, size, warps in sizes]
        return made[:2] if dry else made
    made = [tile for tile in _matrix_tiles(case) if _fits(case, tile)]
    return made[:2] if dry else made


def _matrix_tiles(case: Case) -> Iterator[dict[str, int]]:
    kernel, pool = case.kernel, 'pool' in case.kernel
    # most of the time is where k is 32 and before the transitions; there the search is finer
    fine = case.growth_rate == 32 and not pool
    stages = (2, 3, 4) if fine else (2, 3)
    if kernel.startswith('grad_weight'):
        sides = [('BLOCK_M', (32, 64, 128)), ('BLOCK_C', (64, 128)), ('BLOCK_J', (64, 128))]
        stages = (2, 3, 4) if fine else (3,)
    elif kernel.startswith('grad_input'):
        sides = [('BLOCK_M', (32, 64, 128)), ('BLOCK_C', (32, 64, 128)), ('BLOCK_J', (64, 128))]
        stages = (2, 3) if fine else (3,)
    elif kernel == 'norm_relu_matmul_backward':
        sides = [('BLOCK_M', (32, 64, 128)), ('BLOCK_C', (32, 64, 128))]
    elif kernel == 'norm_relu_conv3x3':
        sides = [('BLOCK_M', (64, 128, 256)), ('BLOCK_C', (16, 32, 64, 128))]
        stages = (2, 3, 4, 5) if fine else (2, 3)
    else:
        sides = [('BLOCK_M', (32, 64, 128) if pool else (64, 128, 256)), ('BLOCK_C', (32, 64, 128))]
    # registers of a thread for as many programs on a processor as 128 and 168 allow
    limits = {4: (None, 168, 128), 8: (None, 128)} if fine else {4: (None,), 8: (None, 128)}
    for values in product(*(choices for _, choices in sides)):
        tile = dict(zip((side for side, _ in sides), values))
        for warps, count in product((4, 8), stages):
            for limit in limits[warps]:
                extra = {} if limit is None else dict(maxnreg=limit)
                yield tile | dict(num_warps=warps, num_stages=count) | extra


def _fits(case: Case, tile: dict[str, int]) -> bool:
    """Rough bounds: what a program accumulates, in registers of a thread, and its buffers in shared memory."""
    m, c, j = tile['BLOCK_M'], tile['BLOCK_C'], tile.get('BLOCK_J', 0)
    columns = 1 << (min(case.columns, 256) - 1).bit_length()
    threads, size = 32 * tile['num_warps'], 2
    if case.kernel == 'norm_relu_matmul_backward':
        kept, stage, fixed = max(64, columns) * c + m * c, m * c * 2 + m * columns, columns * c
    elif case.kernel.startswith('grad_weight'):
        kept, stage, fixed = j * c, m * (c + j), 0
    elif case.kernel.startswith('grad_input'):
        kept, stage, fixed = m * c * (3 if 'pool' in case.kernel else 2), (m + c) * j, m * c
        if j > columns:
            return False
    else:
        kept, stage, fixed = m * columns + m * c, m * c * (4 if '_pool_' in case.kernel else 1) + c * columns, 0
    registers = kept / threads
    limit = tile.get('maxnreg')
    if not 8 <= registers <= min(160, (limit or 255) - 40):
        return False
    if limit and registers < limit / 3:
        return False  # it needs fewer without the limit
    shared = (stage * (tile['num_stages'] - 1) + fixed) * size
    return shared <= 200 * 1024


def launcher(case: Case, device: str) -> tuple[Callable[[], tuple], Callable[[], None]]:
    """A function that launches the case and returns what it computed, and one that undoes what it did in place."""
    import torch

    from mmdensenet.ops.steps.triton import conv, matmul, matmul_backward, matmul_grads, norm, norm_backward

    dtype = getattr(torch, case.dtype)
    c, j, width = case.channels, case.columns, case.width
    n, height, side = case.shape
    m = n * height * side
    pooled = n * (height // 2) * (side // 2)

    def rows(count: int, columns: int, channels: int | None = None):
        made = torch.randn(count, columns, device=device, dtype=dtype)
        return made if channels is None else made[:, :channels]

    def vector(size: int, low: float = 0.5):
        return torch.rand(size, device=device) + low

    scale, shift, mean = vector(c), vector(c, -0.5), vector(c, -0.5)
    nothing = lambda: None  # noqa: E731
    kernel = case.kernel
    if not case.matrix:
        x = rows(m, width, c)
        if kernel == 'norm_relu':
            return lambda: (norm.norm_relu(x, scale, shift),), nothing
        if kernel == 'statistics':
            return lambda: norm.statistics(x), nothing
        other = rows(m, width, c)
        if kernel == 'copy_with_statistics':
            dense = rows(m, c)
            return lambda: (*norm.copy_with_statistics(dense, other), other), nothing
        if kernel == 'batch_norm_sums':
            return lambda: norm_backward.batch_norm_backward_sums(other, x, mean), nothing
        if kernel == 'batch_norm_backward':
            arguments = other, x, mean, scale, scale, mean, mean, m
            out = torch.empty_like(x, memory_format=torch.contiguous_format)
            return lambda: (norm_backward.batch_norm_backward(*arguments, out=out),), nothing
        # what it sets to 0 it sets to 0 again
        return lambda: (*norm_backward.masked_sums(other, x, scale, shift, mean), other), nothing
    if kernel == 'norm_relu_conv3x3':
        k = j
        x, out = rows(m, width, c), rows(m, 8 * k, k)
        weight = torch.randn(k, c, 3, 3, device=device) / (3 * c**0.5)
        return lambda: (*conv.norm_relu_conv3x3(x, scale, shift, weight, case.shape, out), out), nothing
    x = rows(m, width, c)
    weight = (torch.randn(j, c, device=device) / c**0.5).to(dtype)
    if kernel == 'norm_relu_matmul':
        return lambda: matmul.norm_relu_matmul(x, scale, shift, weight), nothing
    if kernel == 'norm_relu_pool_matmul':
        return lambda: matmul.norm_relu_pool_matmul(x, scale, shift, weight, case.shape)[:1], nothing
    pool = kernel.endswith('_pool')
    grad = rows(pooled if pool else m, j)
    if kernel.startswith('grad_weight'):
        if pool:
            small = rows(pooled, c)
            return lambda: (matmul_grads.grad_weight(small, grad),), nothing
        return lambda: (matmul_grads.grad_weight(x, grad, scale, shift),), nothing
    accumulator = torch.zeros(m, width, device=device, dtype=dtype)[:, :c]
    arguments = x, scale, shift, mean, weight, grad, scale, accumulator, False
    if kernel == 'norm_relu_matmul_backward':
        return lambda: (*matmul_backward._fused(*arguments), accumulator), lambda: accumulator.zero_()
    shape, extra = (case.shape, rows(pooled, c)) if pool else (None, None)
    return (
        lambda: (*matmul_grads.grad_input(*arguments, shape, extra), accumulator),
        lambda: accumulator.zero_(),
    )
