"""A whole stage and the stem in evaluation without gradients, each in one call: see :class:`~..protocol.Steps`."""

import ctypes

import torch

from .library import load
from .pointers import (
    check_shapes,
    data_ptr,
    images_ptr,
    plain_rows,
    plain_values,
    rows_ptr,
    values_ptr,
    values_ptrs,
    weight_strides,
)

_NORM = ('weight', 'bias', 'running_mean', 'running_var')
_LAYER = (*(f'norm1.{name}' for name in _NORM), 'conv1.weight', *(f'norm2.{name}' for name in _NORM), 'conv2.weight')
_TRANSITION = (*(f'transition.norm.{name}' for name in _NORM), 'transition.conv.weight')


def evaluate_stage(x, shape, layers, transition, eps, keep_features):
    x = plain_rows(x)
    c0, (n, h, w) = x.shape[1], shape
    k, width = layers[0][9].shape[:2]
    if not c0 * k * width:
        raise ValueError(f'{c0} channels, bottleneck {width}, growth {k}: the kernel takes none of them as 0')
    # contiguous, unless all of them are channels last
    strides = weight_strides(layers[0][9])
    if any(weight_strides(layer[9]) != strides for layer in layers):
        strides = 9, 1
    held = [tensor for layer in layers for tensor in layer]
    names = [*_LAYER] * len(layers)
    counts = []
    channels = c0 + len(layers) * k
    check_shapes([layer[4] for layer in layers], 'conv1.weight', [(width, c, 1, 1) for c in range(c0, channels, k)])
    check_shapes([layer[9] for layer in layers], 'conv2.weight', [(k, width, 3, 3)] * len(layers))
    for c in range(c0, channels, k):
        counts += (c, c, c, c, width * c, width, width, width, width, k * width * 9)
    if transition is not None:
        reduced = transition[4].shape[0]
        check_shapes([transition[4]], 'transition.conv.weight', [(reduced, channels, 1, 1)])
        held += transition
        names += _TRANSITION
        counts += [channels] * 4 + [reduced * channels]
    channels_last = () if strides == (9, 1) else range(9, 10 * len(layers), 10)
    try:
        pointers = values_ptrs(held, names, counts, channels_last)
    except ValueError:
        # in another type or order, perhaps
        held = [tensor if i in channels_last else plain_values(tensor) for i, tensor in enumerate(held)]
        pointers = values_ptrs(held, names, counts, channels_last)
    features = out = None
    if keep_features or transition is None:
        features = x.new_empty(n * h * w, channels)
    if transition is not None:
        out = x.new_empty(n * (h // 2) * (w // 2), reduced)
    load().functions.evaluate_stage(
        *rows_ptr(x, 'x', n * h * w, c0), n, h, w, c0,
        len(layers), width, k,
        (ctypes.c_void_p * len(pointers))(*pointers), *strides, eps,
        None if features is None else data_ptr(features, 'features', (n * h * w, channels)),
        *((None, 0) if out is None else (data_ptr(out, 'out', out.shape), out.shape[1])),
        torch.get_num_threads(),
    )  # fmt: skip
    return features, out


def evaluate_stem(x, weight, scale, shift):
    n, c, h, w = x.shape
    width = weight.shape[0]
    weight, scale, shift = map(plain_values, (weight, scale, shift))
    out = x.new_empty(n * ((h + 3) // 4) * ((w + 3) // 4), width)
    load().functions.evaluate_stem(
        *images_ptr(x, 'x'),
        data_ptr(weight, 'weight', (width, c, 7, 7)), width,
        values_ptr(scale, 'scale', width), values_ptr(shift, 'shift', width),
        data_ptr(out, 'out', out.shape),
        torch.get_num_threads(),
    )  # fmt: skip
    return out
