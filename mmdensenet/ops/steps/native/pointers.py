"""Tensors as pointers for the kernels: every address is checked here, and only memory that is safe to use passes."""

from collections.abc import Container, Sequence
from operator import attrgetter

import torch
from torch import Tensor, nn

_PLAIN = {Tensor, nn.Parameter}
_IS_CPU, _DTYPE, _SHAPE = map(attrgetter, ('is_cpu', 'dtype', 'shape'))


def plain_rows(tensor: Tensor) -> Tensor:
    """Rows with contiguous channels, which the kernels need."""
    return tensor if tensor.stride(1) == 1 or tensor.shape[1] == 1 else tensor.contiguous()


def plain_values(tensor: Tensor) -> Tensor:
    """Contiguous float32 values."""
    # the check takes a fraction of the time of two conversions that do nothing
    if tensor.dtype is torch.float32 and tensor.is_contiguous():
        return tensor
    return tensor.to(torch.float32).contiguous()


def weight_strides(weight: Tensor) -> tuple[int, int]:
    """The input-channel and tap strides at which kernels read a weight (k, C, 3, 3): channels last if it is so."""
    if (
        weight.dtype is torch.float32
        and not weight.is_contiguous()
        and weight.is_contiguous(memory_format=torch.channels_last)
    ):
        return 1, weight.shape[1]
    return 9, 1


def plain_weight(weight: Tensor) -> Tensor:
    """A weight (k, C, 3, 3) with the strides of :func:`weight_strides`."""
    return weight if weight_strides(weight)[0] == 1 else plain_values(weight)


def check_shapes(tensors: Sequence[Tensor], name: str, shapes: Sequence[tuple[int, ...]]) -> None:
    """Raise ValueError, with a message that begins with the name, if a tensor has another shape."""
    if list(map(_SHAPE, tensors)) != shapes:
        wrong, shape = next((tensor, shape) for tensor, shape in zip(tensors, shapes) if tensor.shape != shape)
        raise ValueError(f'{name}: {_layout(wrong)}, where the kernel takes {shape}')


def data_ptr(
    tensor: Tensor,
    name: str,
    shape: tuple[int, ...],
    dtype: torch.dtype = torch.float32,
    channels_last: bool = False,
) -> int:
    """The address of a tensor of this shape and dtype that is contiguous or, with ``channels_last``, channels last.

    Raises:
        ValueError: for any other tensor; the message begins with the name.
    """
    [pointer] = _data_ptrs([tensor], [name], dtype)
    order = torch.channels_last if channels_last else torch.contiguous_format
    if tensor.shape != shape or not tensor.is_contiguous(memory_format=order):
        raise ValueError(f'{name}: {_layout(tensor)}, where the kernel takes {tuple(shape)} in {order}')
    return pointer


def weight_ptr(weight: Tensor, name: str, width: int, channels: int) -> tuple[int, int, int]:
    """The address, input-channel stride and tap stride of a weight (width, channels, 3, 3).

    Raises:
        ValueError: as :func:`data_ptr`.
    """
    strides = weight_strides(weight)
    return data_ptr(weight, name, (width, channels, 3, 3), channels_last=strides[0] == 1), *strides


def values_ptr(tensor: Tensor, name: str, count: int) -> int:
    """The address of a contiguous float32 tensor of ``count`` values and any shape. Raises as :func:`data_ptr`."""
    [pointer] = _data_ptrs([tensor], [name], torch.float32)
    if tensor.numel() != count or not tensor.is_contiguous():
        raise ValueError(f'{name}: {_layout(tensor)}, where the kernel takes {count} contiguous values')
    return pointer


def rows_ptr(
    rows: Tensor, name: str, count: int, channels: int, dtype: torch.dtype = torch.float32, written: bool = False
) -> tuple[int, int]:
    """The address and the stride of rows (count, channels) whose channels are contiguous.

    Args:
        written: also refuse rows that overlap in memory.

    Raises:
        ValueError: as :func:`data_ptr`.
    """
    [pointer] = _data_ptrs([rows], [name], dtype)
    if rows.shape != (count, channels) or not channels or (channels > 1 and rows.stride(1) != 1):
        raise ValueError(
            f'{name}: {_layout(rows)}, where the kernel takes {(count, channels)} with contiguous channels'
        )
    stride = rows.stride(0)
    if written and count > 1 and stride < channels:
        raise ValueError(f'{name}: {_layout(rows)}: its rows overlap, and the kernel writes them')
    return pointer, stride


def images_ptr(images: Tensor, name: str) -> tuple[int, ...]:
    """The address of float32 images, their sizes and their strides."""
    return *_data_ptrs([images], [name], torch.float32), *images.shape, *images.stride()


def values_ptrs(
    tensors: Sequence[Tensor], names: Sequence[str], counts: Sequence[int], channels_last: Container[int] = ()
) -> list[int]:
    """:func:`values_ptr` of many tensors, in a fraction of the time.

    Args:
        channels_last: the indices of tensors that may be channels last instead.
    """
    pointers = _data_ptrs(tensors, names, torch.float32)
    if list(map(Tensor.numel, tensors)) != counts or not all(map(Tensor.is_contiguous, tensors)):
        for i, (tensor, name, count) in enumerate(zip(tensors, names, counts, strict=True)):
            if tensor.numel() != count or not (
                tensor.is_contiguous()
                or (i in channels_last and tensor.is_contiguous(memory_format=torch.channels_last))
            ):
                raise ValueError(f'{name}: {_layout(tensor)}, where the kernel takes {count} contiguous values')
    return pointers


def _data_ptrs(tensors: Sequence[Tensor], names: Sequence[str], dtype: torch.dtype) -> list[int]:
    """The only function that takes addresses: of plain tensors of this dtype whose values are in the CPU's memory."""
    # map() loops in C: a model has hundreds of tensors, and evaluates an image in a millisecond
    if set(map(type, tensors)) <= _PLAIN and not (len(tensors) == 1 and tensors[0].is_nested):
        try:
            if (
                all(map(_IS_CPU, tensors))
                and set(map(_DTYPE, tensors)) <= {dtype}
                and not any(map(Tensor.is_neg, tensors))
            ):
                pointers = list(map(Tensor.data_ptr, tensors))
                if all(pointers) or all(pointer or not tensor.numel() for pointer, tensor in zip(pointers, tensors)):
                    return pointers
        except (RuntimeError, NotImplementedError):
            pass  # sparse, functional and batched tensors have no storage
    if len(tensors) > 1:
        return [_data_ptrs([tensor], [name], dtype)[0] for tensor, name in zip(tensors, names)]
    kind = type(tensors[0])
    found = f'a {kind.__name__}' if kind not in _PLAIN else _storage(tensors[0])
    raise ValueError(f'{names[0]}: {found}, where the kernel takes a plain tensor of {dtype} in memory, on the CPU')


def _layout(tensor: Tensor) -> str:
    return f'a tensor {tuple(tensor.shape)} with strides {tensor.stride()}'


def _storage(tensor: Tensor) -> str:
    marks = [str(tensor.dtype), f'on {tensor.device}', str(tensor.layout), *(['nested'] if tensor.is_nested else [])]
    return ' '.join([*marks, *(['negative bit'] if tensor.layout is torch.strided and tensor.is_neg() else [])])


def new_sums(channels: int) -> tuple[Tensor, Tensor]:
    """Empty tensors for the two sums (C,) of a backward pass, in float64."""
    return torch.empty(channels, dtype=torch.float64), torch.empty(channels, dtype=torch.float64)


def sums_ptr(sums: tuple[Tensor, Tensor]) -> tuple[int, int]:
    first, second = sums
    return tuple(data_ptr(s, 'sums', first.shape, torch.float64) for s in (first, second))


def vectors_ptr(channels: int, **vectors: Tensor | None) -> list[int | None]:
    return [None if v is None else values_ptr(v, name, channels) for name, v in vectors.items()]
