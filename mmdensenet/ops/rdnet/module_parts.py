"""Modules as forward found them: their settings, and which tensors they have, to be computed with other tensors."""

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import NamedTuple

from torch import Tensor, nn


def parameters_of(module: nn.Module) -> Iterator[Tensor]:
    """In the order in which :func:`with_tensors` takes them; one that is there twice comes twice."""
    yield from (p for p in module._parameters.values() if p is not None)
    for child in module._modules.values():
        if child is not None:
            yield from parameters_of(child)


class ModuleParts(NamedTuple):
    """A module's settings, the names of its parameters, which may be None, and its parts."""

    settings: dict[str, object]
    parameters: dict[str, bool]
    children: 'dict[str, ModuleParts | None]'


def parts_of(module: nn.Module) -> ModuleParts:
    """The module as it is now: backward is that of forward, whatever has been changed since."""
    own = vars(module)
    return ModuleParts(
        {name: value for name, value in own.items() if not (name.startswith('_') or isinstance(value, Tensor))},
        {name: p is not None for name, p in own['_parameters'].items()},
        {name: None if child is None else parts_of(child) for name, child in own['_modules'].items()},
    )


def with_tensors(parts: Sequence[ModuleParts], tensors: Sequence[Tensor]) -> list[SimpleNamespace]:
    """The modules, with these tensors in the order of :func:`parameters_of`."""
    each = iter(tensors)
    return [_with_tensors(block, each) for block in parts]


def _with_tensors(parts: ModuleParts, tensors: Iterator[Tensor]) -> SimpleNamespace:
    """The module as the functions of :mod:`.rdnet_stage` read it, with these tensors as its parameters."""
    parameters = {name: next(tensors) if there else None for name, there in parts.parameters.items()}
    children = {name: child and _with_tensors(child, tensors) for name, child in parts.children.items()}
    return SimpleNamespace(**parts.settings | parameters | children)


def are_biases(blocks: Sequence[ModuleParts]) -> Iterator[bool]:
    """Of each parameter, whether it is a convolution's bias."""
    for parts in blocks:
        yield from (name == 'bias' and 'padding' in parts.settings for name, there in parts.parameters.items() if there)
        yield from are_biases([child for child in parts.children.values() if child is not None])


def leaf_of(values: Tensor, parameter: Tensor) -> Tensor:
    """In a parameter's place, which shares the values and notices their changes.

    Hooks on a parameter are for the gradient that it gets in the end.
    """
    return values.detach().requires_grad_(parameter.requires_grad)


def tensors_of(part: SimpleNamespace) -> Iterator[Tensor]:
    """The parameters of what :func:`with_tensors` gave."""
    for value in vars(part).values():
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, SimpleNamespace):
            yield from tensors_of(value)
