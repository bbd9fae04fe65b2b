"""``engine='auto'`` gives what 'reference' gives, whatever was done to the model.

Values, gradients, statistics and kinds of errors, over the tables of support/model_changes.py, structure_changes.py and
model_uses.py.
"""

import copy
import importlib.util
import json
import os
import warnings
from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import model_changes as changes
from support import model_uses as uses
from support.helpers import randomise
from support.second_derivatives import SECOND_DERIVATIVES
from support.structure_changes import STRUCTURES
from torch import Tensor, nn

from mmdensenet import ops
from mmdensenet.models import DenseNet
from mmdensenet.ops.block import contract

#: type, kernels and error allowed, relative to the largest value of a tensor
WAYS = {
    'float64': (torch.float64, 'plain', 1e-8),
    'native': (torch.float32, 'auto', 2e-3),
    'float32': (torch.float32, 'plain', 2e-3),
}


def network(dtype: torch.dtype, training: bool) -> nn.Module:
    model = DenseNet(dict(growth_rate=4, depths=[2, 2], init_channels=8), bn_size=4, out_indices=(0, 1))
    return randomise(model).to(dtype).train(training)


def images(dtype: torch.dtype) -> Tensor:
    return torch.randn(2, 3, 33, 34, generator=torch.Generator().manual_seed(0)).to(dtype)


def outcome(engine: str, model: nn.Module, change: Callable, inputs: Callable, use: Callable):
    """The tensors that it gives, or the error."""
    model = copy.deepcopy(model)
    for module in (model, *model.stages):
        module.engine = engine
    try:
        torch.manual_seed(0)
        change(model)
        return use(model, inputs())
    except Exception as error:
        return error


def difference(expected, actual, tolerance: float) -> str | None:
    if isinstance(expected, Exception) or isinstance(actual, Exception):
        if type(expected) is type(actual):
            return None
        return f'{expected!r:.120} but {actual!r:.120}'
    if len(expected) != len(actual):
        return f'{len(expected)} results but {len(actual)}'
    # a gradient that is zero in theory, such as that of a bias in front of a batch norm, is rounding alone
    largest = max((t.detach().abs().nan_to_num(0, 0, 0).max().item() for t in expected if _is_float(t)), default=0.0)
    for i, (a, b) in enumerate(zip(expected, actual)):
        if not isinstance(a, Tensor) or not isinstance(b, Tensor):
            if type(a) is not type(b) or a != b:
                return f'result {i}: {a} but {b}'
        elif a.shape != b.shape or a.dtype != b.dtype or a.device != b.device:
            return f'result {i}: {a.shape} {a.dtype} {a.device} but {b.shape} {b.dtype} {b.device}'
        elif a.is_meta or not a.numel():
            continue
        elif reason := _unequal(
            a.detach().to_dense(), b.detach().to_dense(), tolerance, (1e-6 if tolerance < 1e-6 else 1e-2) * largest
        ):
            return f'result {i} of {len(expected)}: {reason}'
    return None


def _is_float(value) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and not value.is_meta and value.numel() > 0


def _unequal(a: Tensor, b: Tensor, tolerance: float, least: float) -> str | None:
    if not a.is_floating_point():
        return None if torch.equal(a, b) else 'differs'
    a, b = a.double(), b.double()
    finite = a.isfinite()
    if not torch.equal(finite, b.isfinite()) or not torch.equal(a[~finite].nan_to_num(), b[~finite].nan_to_num()):
        return f'{(~finite).sum()} values are not finite but {(~b.isfinite()).sum()}'
    if not finite.any():
        return None
    error = (a - b)[finite].abs().max() / a[finite].abs().max().clamp_min(max(least, 1e-30))
    return None if error <= tolerance else f'differs by {error:.2g}'


Case = tuple[str, Callable, Callable | None, Callable]


def _of(change: Callable, place: str) -> Callable:
    return lambda model: change(model.get_submodule(place))


def _nothing(model: nn.Module) -> None:
    pass


def _settings(table: dict, places: tuple[str, ...]) -> list[Case]:
    return [
        (f'{name} of {p or "all"}', _of(change, p), None, uses.step) for name, change in table.items() for p in places
    ]


#: name: cases, each a name, a change of the model, one of the images, and a use
GROUPS: dict[str, list[Case]] = {
    **{
        name: [(place or 'all', partial(change, name=place), None, uses.step) for place in changes.EVERYWHERE]
        for name, change in changes.MODULE_CHANGES.items()
    },
    'weights': _settings(changes.WEIGHT_CHANGES, changes.CONVS + changes.NORMS),
    'norms': _settings(changes.NORM_CHANGES, changes.NORMS),
    'convolutions': _settings(changes.CONV_CHANGES, changes.CONVS),
    'poolings': _settings(changes.POOL_CHANGES, ('stem.3', 'transitions.0.pool')),
    'structures': [(name, change, None, uses.step) for name, change in STRUCTURES.items()],
    'uses': [(name, _nothing, None, use) for name, use in uses.USES.items()],
    'second derivatives': [(name, _nothing, None, use) for name, use in SECOND_DERIVATIVES.items()],
    'inputs': [(name, _nothing, change, uses.step) for name, change in uses.INPUTS.items()],
}


def run(way: str, training: bool, cases: list[Case]) -> Iterator[tuple[str, str | None]]:
    """The name of each case before it runs, and after it with what differs."""
    dtype, _, tolerance = WAYS[way]
    model = network(dtype, training)
    torch.set_num_threads(1)
    warnings.simplefilter('ignore')
    for name, change, alter, use in cases:
        yield name, None

        def inputs(alter=alter):
            return images(dtype).requires_grad_() if alter is None else alter(images(dtype))

        expected, actual = (outcome(engine, model, change, inputs, use) for engine in ('reference', 'auto'))
        yield name, difference(expected, actual, tolerance)
    # what a case leaves behind may refuse the fused block, and the later ones compare the reference with itself
    after = outcome('fused', model, _nothing, lambda: images(dtype).requires_grad_(), uses.step)
    yield 'after all cases', repr(after) if isinstance(after, Exception) else None


def run_in_a_process(*args) -> list[str]:
    """What differs; a case that ends its process does so too."""
    here, there = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            os.close(here)
            with os.fdopen(there, 'w') as pipe:
                for line in run(*args):
                    print(json.dumps(line), file=pipe, flush=True)
        finally:
            os._exit(0)
    os.close(there)
    with os.fdopen(here) as pipe:
        lines = [json.loads(line) for line in pipe]
    os.waitpid(process, 0)
    found = [f'{name}: {reason}' for name, reason in lines if reason]
    if len(lines) < 2 * len(args[-1]):
        found.append(f'{lines[-1][0] if lines else "the first"}: the process ended')
    return found


#: groups whose cases are each of a kind of its own; the others have the same changes in several places
OWN_KINDS = ('structures', 'uses', 'second derivatives', 'inputs')


def cases_of(way: str, training: bool, group: str) -> list[Case]:
    """A part of them: of two types and two modes, a case of its own kind is run in two that have neither in common.

    A change is made in each place once, and from change to change in another type and mode.
    """
    if group in OWN_KINDS:
        part = GROUPS[group][(way == 'native') ^ training :: 2]
    else:
        first, turn = list(GROUPS).index(group), 2 * (way == 'native') + training
        part = [case for i, case in enumerate(GROUPS[group], first) if (i + (i - first) // 8) % 4 == turn]
    return [case for case in part if is_comparable(way, case)]


def is_comparable(way: str, case: Case) -> bool:
    """All but what docs/dense_block.md says of weights that are not finite: how far they spread within a map."""
    name = case[0]
    if way == 'native':  # Winograd's tiles too
        return not name.startswith(('nan of', 'infinite of')) and name != 'negative_statistics of transitions.0.norm'
    return name not in ('nan of transitions.0.conv', 'infinite of transitions.0.conv')


@pytest.fixture
def kernels(request, monkeypatch):
    if request.param == 'native':
        request.getfixturevalue('native_kernels')
    monkeypatch.setenv('MMDENSENET_KERNELS', WAYS[request.param][1])
    return request.param


@pytest.mark.skipif(
    torch.cuda.is_available(), reason='a process that has used a GPU cannot fork one that differentiates'
)
@pytest.mark.parametrize('group', GROUPS)
@pytest.mark.parametrize('training', [True, False], ids=['training', 'evaluation'])
@pytest.mark.parametrize('kernels', ['float64', 'native'], indirect=True)
def test_auto_is_the_reference(kernels, training, group):
    assert not run_in_a_process(kernels, training, cases_of(kernels, training, group))


@pytest.mark.slow
@pytest.mark.skipif(
    torch.cuda.is_available(), reason='a process that has used a GPU cannot fork one that differentiates'
)
@pytest.mark.parametrize('training', [True, False], ids=['training', 'evaluation'])
@pytest.mark.parametrize('kernels', WAYS, indirect=True)
def test_all_cases(kernels, training):
    found = {
        group: run_in_a_process(kernels, training, [case for case in cases if is_comparable(kernels, case)])
        for group, cases in GROUPS.items()
    }
    assert not any(found.values()), found


@pytest.mark.parametrize('training', [True, False], ids=['training', 'evaluation'])
@pytest.mark.parametrize('kind', ['autocast', 'float16 autocast', 'bfloat16', 'float16'])
@pytest.mark.parametrize('kernels', ['native', 'float32'], indirect=True)
def test_low_precision_errs_no_more_than_twice_as_much(kernels, kind, training):
    """Against float64: outputs, gradients and statistics of a whole network."""
    model, dtype = network(torch.float64, training), torch.float16 if 'float16' in kind.split() else torch.bfloat16

    def results(engine, low):
        if not low:
            return uses.step(copy.deepcopy(model), images(torch.float64).requires_grad_())
        under = torch.autocast('cpu', dtype=dtype, enabled='autocast' in kind)
        changed = copy.deepcopy(model).to(torch.float32 if 'autocast' in kind else dtype)
        x = images(next(changed.parameters()).dtype).requires_grad_()
        for module in (changed, *changed.stages):
            module.engine = engine
        with under:
            return uses.step(changed, x)

    exact = results('reference', False)
    errors = []
    for engine in ('reference', 'auto'):
        relative = [
            ((a.double() - b).norm() / b.norm()).item()
            for a, b in zip(results(engine, True), exact)
            if b.is_floating_point() and b.norm() > 1e-6
        ]
        errors.append((sum(min(e, 10) ** 2 for e in relative) / len(relative)) ** 0.5)
    assert errors[1] <= 2 * errors[0], errors


@pytest.mark.parametrize(
    'change',
    [
        lambda x: torch._efficientzerotensor(x.shape),
        lambda x: x.to('meta'),
        torch._neg_view,
        torch._to_functional_tensor,
        lambda x: x.to_sparse(),
        lambda x: x.to_mkldnn(),
        lambda x: x.as_subclass(uses.Sub),
        lambda x: torch.nested.nested_tensor(list(x)),
        lambda x: x.double(),
        lambda x: x.numpy(),
    ],
)
def test_tensors_of_other_kinds_are_refused(change):
    model = network(torch.float32, False)
    x = torch.randn(2, 8, 6, 6)
    layers = model.stages[0].block
    assert ops.why_not_fused(x, layers) is None
    assert ops.why_not_fused(change(x), layers)
    weight = layers[1].conv1.weight.detach()
    layers[1].conv1._parameters['weight'] = change(weight)
    assert ops.why_not_fused(x, layers)


def test_harmless_things_do_not_forbid_fusing():
    model = network(torch.float32, True)
    layers, x = model.stages[0].block, torch.randn(2, 8, 6, 6)
    layers[0].conv1.remark = 'an attribute'
    layers[1].norm1.affine = False
    model.stages[0].block[0].requires_grad_(False)
    model.register_forward_hook(lambda *_: None)
    model.half().float().to(memory_format=torch.channels_last)
    with torch.device('cpu'), torch.inference_mode():
        assert ops.why_not_fused(x, layers) is None
        assert ops.plan_stage(x, layers, model.transitions[0], model.stages[0]).reason is None


def test_methods_that_were_put_back_do_not_forbid_fusing(monkeypatch):
    """Tools set what they read, also where it was inherited, and the instance or the class then has it itself."""
    model = network(torch.float32, True)
    layers, x = model.stages[0].block, torch.randn(2, 8, 6, 6)
    for module in model.modules():
        module.forward, module._compiled_call_impl = module.forward, None
    restored = copy.deepcopy(model)
    owners = [(nn.Conv2d, '__call__'), (nn.BatchNorm2d, 'forward'), (nn.Sequential, '__getattr__'), (Tensor, 'add')]
    for owner, name in owners:
        old = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *args, old=old: old(*args))
        assert 'other attributes' in ops.why_not_fused(x, layers)
        monkeypatch.setattr(owner, name, old)
        assert name in vars(owner)
        for net in (model, restored):
            plan = ops.plan_stage(x, net.stages[0].block, net.transitions[0], net.stages[0])
            assert plan.reason is None and ops.is_stem(images(torch.float32), net.stem)
    for forward in (layers[1].conv1.forward, nn.Conv2d.forward, None):
        layers[0].conv1.forward = forward
        assert ops.why_not_fused(x, layers) == 'a convolution has forward of its own'


def test_kernels_that_were_replaced_before_the_import():
    library = torch.library.Library('aten', 'IMPL')
    library.impl('relu', lambda x: torch.clamp(x, min=0) * 0.5, 'CPU')
    try:
        spec = importlib.util.spec_from_file_location('contract_of_later', contract.__file__)
        later = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(later)
        with pytest.raises(later.RefusedError, match='a library has replaced a kernel'):
            later.check_modes(torch.ones(1))
    finally:
        library._destroy()
    assert later.check_modes(torch.ones(1)) is False


@st.composite
def architectures(draw):
    depths = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    arguments = dict(
        arch=dict(growth_rate=draw(st.integers(1, 50)), depths=depths, init_channels=draw(st.integers(1, 20))),
        in_channels=draw(st.integers(1, 4)),
        bn_size=draw(st.integers(1, 4)),
        bottleneck=draw(st.booleans()),
        stem=draw(st.sampled_from(['imagenet', 'cifar'])),
        drop_after=draw(st.sampled_from(['layer', 'convolution'])),
        compression_factor=draw(st.sampled_from([0.5, 0.7, 1.0])),
        memory_efficient=draw(st.booleans()),
        norm_eval=draw(st.booleans()),
        out_before_transition=draw(st.booleans()),
        out_indices=tuple(range(len(depths))),
        frozen_stages=draw(st.integers(0, len(depths))),
    )
    # in channels-last order a map of one channel or pixel lies both ways, and so do draws of dropout
    arguments |= draw(st.sampled_from([dict(channels_last=True), dict(drop_rate=0.3), dict()]))
    shape = draw(st.integers(0, 9)), arguments['in_channels'], draw(st.integers(1, 20)), draw(st.integers(1, 20))
    return arguments, shape, draw(st.booleans())


def check_architecture(drawn) -> None:
    arguments, shape, training = drawn
    model = randomise(DenseNet(**arguments).double()).train(training)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected, actual = (
        outcome(engine, model, _nothing, lambda: x.clone().requires_grad_(), uses.step)
        for engine in ('reference', 'auto')
    )
    reason = difference(expected, actual, 1e-7)
    assert not reason, reason


@settings(max_examples=25, derandomize=True, deadline=None, database=None)
@given(architectures())
def test_architectures(drawn):
    check_architecture(drawn)


@pytest.mark.slow
@settings(max_examples=300, derandomize=True, deadline=None, database=None)
@given(architectures())
def test_many_architectures(drawn):
    check_architecture(drawn)
