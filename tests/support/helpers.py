"""Helpers of several test modules."""

import csv
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mmdensenet.models import BlurPool

#: error allowed in float64, relative to the largest value
TOLERANCE = 1e-11


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """Largest difference over the largest magnitude."""
    scale = expected.abs().max().clamp_min(torch.finfo(expected.dtype).tiny)
    return ((actual - expected).abs().max() / scale).item()


def assert_same(actual: Tensor, expected: Tensor, tolerance: float = TOLERANCE, name: str = '') -> None:
    assert actual.shape == expected.shape, name
    error = relative_error(actual, expected)
    assert error <= tolerance, f'{name}: differs by {error:.3g}'


def assert_equal(actual: object, expected: object, name: str = '') -> None:
    """Tensors to the bit, and what is around them, such as the dicts of a checkpoint."""
    assert type(actual) is type(expected), name
    if isinstance(expected, Tensor):
        assert torch.equal(actual, expected), name
    elif isinstance(expected, dict):
        assert actual.keys() == expected.keys(), name
        for key in expected:
            assert_equal(actual[key], expected[key], f'{name}.{key}')
    elif isinstance(expected, (list, tuple)):
        assert len(actual) == len(expected), name
        for i, (one, other) in enumerate(zip(actual, expected)):
            assert_equal(one, other, f'{name}.{i}')
    else:
        assert actual == expected, name


def assert_same_state(actual: nn.Module, expected: nn.Module, tolerance: float = TOLERANCE) -> None:
    """Parameters, gradients and buffers (running statistics and their counters) agree."""
    left, right = dict(actual.state_dict()), dict(expected.state_dict())
    assert left.keys() == right.keys()
    for name, value in right.items():
        if value.is_floating_point():
            assert_same(left[name], value, tolerance, name)
        else:
            assert torch.equal(left[name], value), name
    gradients = dict(expected.named_parameters())
    for name, parameter in actual.named_parameters():
        if gradients[name].grad is None:
            assert parameter.grad is None, name
        else:
            assert_same(parameter.grad, gradients[name].grad, tolerance, f'gradient of {name}')


def read_csv(file: Path | str) -> list[dict[str, str]]:
    """The rows of a table with a header."""
    with open(file, encoding='utf-8', newline='') as lines:
        return list(csv.DictReader(lines))


def load_weights(file: Path) -> dict[str, Tensor]:
    """The weights in a checkpoint of a training."""
    return torch.load(file, weights_only=True)['state_dict']


def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights, biases and running statistics, so that zeros and ones hide nothing; some gammas are negative."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype) * 0.5)
            if name.endswith('running_var'):
                tensor.abs_().add_(0.5)
    return module


def count_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def count_multiply_adds(model: nn.Module, shape: Iterable[int]) -> int:
    """Multiply-adds of convolutions, a blur's among them, and linear layers for one input of this shape (C, H, W)."""
    total = 0

    def add(module: nn.Module, _, out: Tensor) -> None:
        nonlocal total
        if isinstance(module, BlurPool):
            total += module.kernel.numel() * out.numel()
        else:
            pixels = out.shape[-1] * out.shape[-2] if isinstance(module, nn.Conv2d) else 1
            total += module.weight.numel() * pixels

    images = torch.zeros(1, *shape, device=next(model.parameters()).device)
    with_hooks(model, (nn.Conv2d, nn.Linear, BlurPool), add, lambda: model(images))
    return total


def count_flops(model: nn.Module, shape: Iterable[int]) -> int:
    """As OpenMMLab counted its published figures, for one input of this shape (C, H, W).

    Multiply-adds of convolutions, two for each value that a norm gets, one for each that an activation or a pooling
    gets; without the classifier.
    """
    total = 0
    norms = (nn.BatchNorm2d, nn.LayerNorm)
    others = (nn.ReLU, nn.GELU, nn.Hardsigmoid, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)

    def add(module: nn.Module, given: tuple[Tensor], out: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):
            total += module.weight.numel() * out.shape[-1] * out.shape[-2]
        else:
            total += given[0].numel() * (2 if isinstance(module, norms) else 1)

    images = torch.zeros(1, *shape, device=next(model.parameters()).device)
    with_hooks(model, (nn.Conv2d, *norms, *others), add, lambda: model(images))
    return total


def with_hooks(model: nn.Module, kinds: tuple[type, ...], hook: Callable, run: Callable) -> None:
    handles = [module.register_forward_hook(hook) for module in model.modules() if isinstance(module, kinds)]
    try:
        with torch.no_grad():
            run()
    finally:
        for handle in handles:
            handle.remove()


def write_dicom(file, pixels, **tags):
    """A grey DICOM file of 16 bits; skips the test without pydicom."""
    pydicom = pytest.importorskip('pydicom', reason='pydicom is not installed (the extra dicom)')
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = '1.2.840.10008.5.1.4.1.1.7', '1.2.3'
    dataset = FileDataset(str(file), {}, file_meta=meta, preamble=b'\0' * 128)
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.SamplesPerPixel, dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 1, 16, 16, 15
    dataset.PixelRepresentation = int(pixels.dtype.kind == 'i')
    dataset.PhotometricInterpretation = 'MONOCHROME2'
    dataset.PixelData = pixels.tobytes()
    for name, value in tags.items():
        setattr(dataset, name, value)
    dataset.save_as(str(file), enforce_file_format=True)
    assert pydicom.dcmread(str(file)).pixel_array.shape == pixels.shape
    return str(file)
