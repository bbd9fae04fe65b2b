"""The steps of :mod:`mmdensenet.ops.plain` in C++ for CPUs: float32, each pass fused into one, products in registers.

They need a compiler once: ``python tools/build_kernels.py`` (:mod:`.build`) puts a library into the user's cache, and
from then on it is used by itself. Nothing is compiled without being asked for, and without the library plain torch does
the same. The functions here are called through ctypes; arguments and results are those of :mod:`mmdensenet.ops.plain`.
:mod:`.bfloat16` has the steps for that type.
"""

import ctypes
import functools
import sys
from collections.abc import Callable, Sequence
from types import ModuleType

import torch
from torch import Tensor

from .. import plain
from ..rows import Shape
from .build import library_path

_POINTER, _INDEX, _INT = ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int
_TYPES = {'p': _POINTER, 'i': _INDEX, 'n': _INT, 'd': ctypes.c_double}
# one letter per argument: pointer, index, int, double
_SIGNATURES = {
    'statistics': 'piiippn',
    'norm_relu_matmul': 'piiiii' + 'pppi' + 'pppn',
    'norm_relu_matmul_backward': 'piiiii' + 'ppppi' + 'ppp' + 'in' + 'pppn',
    'norm_relu_conv3x3': 'piiiii' + 'pppiii' + 'pippp' + 'n',
    'norm_relu_conv3x3_backward': 'piiiii' + 'ppppiii' + 'pi' + 'pppp' + 'n',
    'evaluate_stage': 'piiiiiiiip' + 'diippin',
    'evaluate_stem': 'piiiiiiii' + 'pipppn',
    'norm_relu_max_pool': 'piiiii' + 'pppn',
    'norm_relu_max_pool_backward': 'piiiii' + 'pppp' + 'pppn',
    'batch_norm_backward_sums': 'pipiii' + 'pppn',
    'batch_norm_backward': 'pipiii' + 'pppp' + 'pipi' + 'n',
    'activate_bfloat16': 'piiippp' + 'n',
    'consume_bfloat16': 'pppiii' + 'ppp' + 'in' + 'ppn',
}
#: these are there with the ending too
_BOTH = ('statistics', 'batch_norm_backward_sums', 'batch_norm_backward')
_SIGNATURES |= {f'{name}_bfloat16': _SIGNATURES[name] for name in _BOTH}


def why_not(dtype: torch.dtype = torch.float32) -> str | None:
    """The reason for which these steps cannot be used for features of this type, or None."""
    if dtype not in (torch.float32, torch.bfloat16):
        return 'the C++ kernels are for float32 and bfloat16'
    path = library_path()
    if path is None:
        return 'the C++ kernels are for Linux'
    if not path.exists():
        return 'the C++ kernels have not been built for this machine; `python tools/build_kernels.py` does'
    return None


def steps_of(dtype: torch.dtype) -> ModuleType:
    """The module with the steps for features of this type."""
    from . import bfloat16

    return bfloat16 if dtype == torch.bfloat16 else sys.modules[__name__]


@functools.cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(str(library_path()))
    for name, letters in _SIGNATURES.items():
        function = getattr(library, name)
        function.argtypes = [_TYPES[letter] for letter in letters]
        function.restype = None
    return library


def _at(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _rows(tensor: Tensor) -> Tensor:
    """Rows whose channels are contiguous, as the kernels need them."""
    return tensor if tensor.stride(1) == 1 or tensor.shape[1] == 1 else tensor.contiguous()


def _vector(tensor: Tensor) -> Tensor:
    # asking takes a fraction of the time of converting nothing to nothing
    if tensor.dtype is torch.float32 and tensor.is_contiguous():
        return tensor
    return tensor.to(torch.float32).contiguous()


def _layout(weight: Tensor) -> tuple[int, int]:
    """The distances of input channels and taps of a weight (k, C, 3, 3): channels last as it lies, or contiguous."""
    if (
        weight.dtype is torch.float32
        and not weight.is_contiguous()
        and weight.is_contiguous(memory_format=torch.channels_last)
    ):
        return 1, weight.shape[1]
    return 9, 1


def _weight(weight: Tensor) -> tuple[Tensor, int, int]:
    """A weight (k, C, 3, 3) that lies so, and its distances of input channels and taps."""
    inner, taps = _layout(weight)
    return (weight if inner == 1 else _vector(weight)), inner, taps


def _kernel(name: str, rows: Tensor) -> Callable[..., None]:
    """The one for rows of this type."""
    return getattr(_library(), f'{name}_bfloat16' if rows.dtype is torch.bfloat16 else name)


def _sums(channels: int) -> tuple[Tensor, Tensor]:
    return torch.empty(channels, dtype=torch.float64), torch.empty(channels, dtype=torch.float64)


def statistics(rows: Tensor) -> tuple[Tensor, Tensor]:
    rows = _rows(rows)
    m, c = rows.shape
    mean, var = (torch.empty(c, dtype=torch.float32) for _ in range(2))
    _kernel('statistics', rows)(_at(rows), rows.stride(0), m, c, _at(mean), _at(var), torch.get_num_threads())
    return mean, var


def norm_relu_matmul(
    features: Tensor, scale: Tensor, shift: Tensor, weight: Tensor, measure: bool = True
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    return _matmul(features, scale, shift, weight, (0, 0), features.shape[0], measure)


def norm_relu_pool_matmul(
    features: Tensor, scale: Tensor, shift: Tensor, weight: Tensor, shape: Shape
) -> tuple[Tensor, None, None]:
    n, h, w = shape
    return _matmul(features, scale, shift, weight, (h, w), n * (h // 2) * (w // 2), False)


def _matmul(features: Tensor, scale: Tensor, shift: Tensor, weight: Tensor, pooled: tuple, rows: int, measure: bool):
    features, weight = _rows(features), _vector(weight)
    scale, shift = _vector(scale), _vector(shift)
    width, c = weight.shape
    out = features.new_empty(rows, width)
    mean, var = (features.new_empty(width), features.new_empty(width)) if measure else (None, None)
    _library().norm_relu_matmul(
        _at(features), features.stride(0), *pooled, rows, c, _at(scale), _at(shift), _at(weight), width,
        _at(out), _at(mean), _at(var), torch.get_num_threads(),
    )  # fmt: skip
    return out, mean, var


def norm_relu_matmul_backward(
    features: Tensor,
    scale: Tensor,
    shift: Tensor,
    mean: Tensor,
    weight: Tensor,
    grad: Tensor,
    coefficient: Tensor,
    accumulator: Tensor,
    overwrite: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    return _matmul_backward(features, scale, shift, mean, weight, (0, 0), grad, coefficient, accumulator, overwrite)


def norm_relu_pool_matmul_backward(
    features: Tensor,
    scale: Tensor,
    shift: Tensor,
    mean: Tensor,
    weight: Tensor,
    shape: Shape,
    grad: Tensor,
    coefficient: Tensor,
    accumulator: Tensor,
    overwrite: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    _, h, w = shape
    if overwrite and (h % 2 or w % 2):
        accumulator.zero_()  # the pooling drops pixels, which the kernel does not see
    return _matmul_backward(features, scale, shift, mean, weight, (h, w), grad, coefficient, accumulator, overwrite)


def _matmul_backward(features, scale, shift, mean, weight, pooled, grad, coefficient, accumulator, overwrite):
    features, grad, values = _rows(features), grad.contiguous(), _vector(weight)
    scale, shift, mean, coefficient = (_vector(v) for v in (scale, shift, mean, coefficient))
    width, c = values.shape
    grad_weight, sums = torch.empty_like(values), _sums(c)
    _library().norm_relu_matmul_backward(
        _at(features), features.stride(0), *pooled, grad.shape[0], c, _at(scale), _at(shift), _at(mean), _at(values),
        width, _at(grad), _at(coefficient), _at(accumulator), accumulator.stride(0), overwrite, _at(grad_weight),
        *map(_at, sums), torch.get_num_threads(),
    )  # fmt: skip
    return grad_weight.to(weight.dtype), *(s.float() for s in sums)


def norm_relu_conv3x3(
    rows: Tensor,
    scale: Tensor | None,
    shift: Tensor,
    weight: Tensor,
    shape: Shape,
    out: Tensor,
    mask: Tensor | None = None,
    measure: bool = True,
) -> tuple[Tensor | None, Tensor | None]:
    rows, shift, (weight, *layout) = _rows(rows), _vector(shift), _weight(weight)
    scale = None if scale is None else _vector(scale)
    k, j = weight.shape[:2]
    mean, var = (rows.new_empty(k), rows.new_empty(k)) if measure else (None, None)
    _library().norm_relu_conv3x3(
        _at(rows), rows.stride(0), *shape, j, _at(scale), _at(shift), _at(weight), *layout, k, _at(out), out.stride(0),
        _at(mask), _at(mean), _at(var), torch.get_num_threads(),
    )  # fmt: skip
    return mean, var


def norm_relu_conv3x3_backward(
    rows: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, weight: Tensor, shape: Shape, grad: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rows, grad, (values, *layout) = _rows(rows), _rows(grad), _weight(weight)
    scale, shift, mean = (_vector(v) for v in (scale, shift, mean))
    k, j = values.shape[:2]
    grad_z = rows.new_empty(rows.shape[0], j)
    grad_weight, sums = torch.empty_like(values), _sums(j)
    _library().norm_relu_conv3x3_backward(
        _at(rows), rows.stride(0), *shape, j, _at(scale), _at(shift), _at(mean), _at(values), *layout, k,
        _at(grad), grad.stride(0), _at(grad_z), _at(grad_weight), *map(_at, sums), torch.get_num_threads(),
    )  # fmt: skip
    return grad_z, grad_weight.to(weight.dtype), *(s.float() for s in sums)


def evaluate_stage(
    x: Tensor,
    shape: Shape,
    layers: Sequence[Sequence[Tensor]],
    transition: Sequence[Tensor] | None,
    eps: float,
    keep_features: bool,
) -> tuple[Tensor | None, Tensor | None]:
    """All layers of a block with running statistics, and the transition behind it, in one call.

    Args:
        x: (M, C0).
        shape: (N, H, W).
        layers: of each layer norm1's weight, bias, running mean and running variance, conv1's weight, and the same of
            norm2 and conv2.
        transition: the same five of a transition, or None.
        eps: of the norms.
        keep_features: return the block's features too.

    Returns:
        The features (M, C0 + L * k), unless there is a transition and they are not to be kept, and the transition's
        output (N * (H // 2) * (W // 2), J).
    """
    x = _rows(x)
    c0, (n, h, w) = x.shape[1], shape
    k, width = layers[0][9].shape[:2]
    layouts = {_layout(layer[9]) for layer in layers}
    # contiguous, unless all of them are channels last
    inner, taps = layouts.pop() if len(layouts) == 1 else (9, 1)
    held = []
    for layer in layers:
        held += map(_vector, layer[:9])
        held.append(layer[9] if inner == 1 else _vector(layer[9]))
    channels = c0 + len(layers) * k
    features = out = None
    if keep_features or transition is None:
        features = x.new_empty(x.shape[0], channels)
    if transition is not None:
        held += map(_vector, transition)
        out = x.new_empty(n * (h // 2) * (w // 2), transition[4].shape[0])
    pointers = (ctypes.c_void_p * len(held))(*(tensor.data_ptr() for tensor in held))
    _library().evaluate_stage(
        _at(x), x.stride(0), *shape, c0, len(layers), width, k, pointers, eps, inner, taps, _at(features), _at(out),
        0 if out is None else out.shape[1], torch.get_num_threads(),
    )  # fmt: skip
    return features, out


def evaluate_stem(x: Tensor, weight: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """The ImageNet stem with running statistics: convolution, norm, ReLU and max pooling in one call.

    Args:
        x: (N, C, H, W) in any order in memory.
        weight: (J, C, 7, 7), of a convolution with stride 2 and padding 3.
        scale, shift: (J,), of the norm.

    Returns:
        (N * H' * W', J); H' and W' are a quarter of H and W, rounded up.
    """
    n, _, h, w = x.shape
    width = weight.shape[0]
    weight, scale, shift = weight.contiguous(), _vector(scale), _vector(shift)
    out = x.new_empty(n * ((h + 3) // 4) * ((w + 3) // 4), width)
    _library().evaluate_stem(
        _at(x), *x.shape, *x.stride(), _at(weight), width, _at(scale), _at(shift), _at(out), torch.get_num_threads()
    )
    return out


new_norm, extend_norm = plain.new_norm, plain.extend_norm

# as wide as the features, so that torch's convolution on chunks of images is as good
norm_relu_conv3x3_backward_into = plain.norm_relu_conv3x3_backward_into


def norm_relu_max_pool(rows: Tensor, scale: Tensor, shift: Tensor, shape: Shape) -> Tensor:
    rows, scale, shift = _rows(rows), _vector(scale), _vector(shift)
    (n, h, w), c = shape, rows.shape[1]
    out = rows.new_empty(n * ((h + 1) // 2) * ((w + 1) // 2), c)
    _library().norm_relu_max_pool(
        _at(rows), rows.stride(0), *shape, c, _at(scale), _at(shift), _at(out), torch.get_num_threads()
    )
    return out


def norm_relu_max_pool_backward(
    rows: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, shape: Shape, grad: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    rows, grad = _rows(rows), grad.contiguous()
    scale, shift, mean = (_vector(v) for v in (scale, shift, mean))
    grad_z, sums = rows.new_empty(rows.shape), _sums(rows.shape[1])
    _library().norm_relu_max_pool_backward(
        _at(rows), rows.stride(0), *shape, rows.shape[1], _at(scale), _at(shift), _at(mean), _at(grad), _at(grad_z),
        *map(_at, sums), torch.get_num_threads(),
    )  # fmt: skip
    return grad_z, sums[0].float(), sums[1].float()


def batch_norm_backward_sums(grad: Tensor, rows: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    grad, rows, mean = _rows(grad), _rows(rows), _vector(mean)
    sums = _sums(rows.shape[1])
    _kernel('batch_norm_backward_sums', rows)(
        _at(grad), grad.stride(0), _at(rows), rows.stride(0), *rows.shape, _at(mean), *map(_at, sums),
        torch.get_num_threads(),
    )  # fmt: skip
    return sums[0].float(), sums[1].float()


def batch_norm_backward(
    grad: Tensor,
    rows: Tensor,
    mean: Tensor,
    rstd: Tensor,
    coefficient: Tensor,
    sum_grad: Tensor,
    sum_centred: Tensor,
    total: int | Tensor,
    add: Tensor | None = None,
    out: Tensor | None = None,
) -> Tensor:
    mean_grad, mean_grad_normalised = sum_grad / total, sum_centred * rstd / total
    grad, rows = _rows(grad), _rows(rows)
    add = None if add is None else _rows(add)
    if out is None:
        out = torch.empty_like(rows, memory_format=torch.contiguous_format)
    coefficient = _vector(coefficient)
    offset, slope = -mean_grad * coefficient, -rstd * mean_grad_normalised * coefficient
    mean = _vector(mean)
    _kernel('batch_norm_backward', rows)(
        _at(grad), grad.stride(0), _at(rows), rows.stride(0), *rows.shape, _at(mean), _at(coefficient), _at(offset),
        _at(slope), _at(add), 0 if add is None else add.stride(0), _at(out), out.stride(0), torch.get_num_threads(),
    )  # fmt: skip
    return out
