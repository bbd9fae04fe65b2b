"""mmdensenet.ops.block.plan and .read_modules: what is fused, and the reasons why something is not.

That the results are right is in test_contract.py and test_fused.py; here no network is run.
"""

import copy
from collections import OrderedDict
from dataclasses import fields

import pytest
import torch
from torch import nn

from mmdensenet.models import DenseNet
from mmdensenet.ops.block.plan import Plan, is_stem, plan_block, plan_stage, plan_stem, why_not_fused

NETWORK = DenseNet(dict(growth_rate=4, depths=[2, 2], init_channels=8), bn_size=3)
PLAIN = DenseNet(dict(growth_rate=4, depths=[2, 1], init_channels=8), bottleneck=False)


@pytest.fixture
def net():
    return copy.deepcopy(NETWORK).train()


def features(*size):
    return torch.randn(size or (2, 8, 6, 6))


def of_block(net, x=None) -> Plan:
    return plan_block(features() if x is None else x, net.stages[0].block)


def of_stage(net, x=None, **options) -> Plan:
    x = features() if x is None else x
    return plan_stage(x, net.stages[0].block, net.transitions[0], net.stages[0], **options)


def put(path: str, value):
    """A change of an attribute, of the layers of the first block or of another module of the network."""

    def change(net) -> None:
        owner, _, name = path.rpartition('.')
        block = net.stages[0].block
        module = block.get_submodule(owner) if owner[:1].isdigit() else net.get_submodule(owner)
        setattr(module, name, value() if isinstance(value, type) else value)

    return change


OTHER_NORM = 'a norm has no weight, bias or running statistics, or other parameters'
NOT_KEPT = 'a norm does not keep running statistics as BatchNorm2d does'
CONV1, CONV3 = (f'a convolution is not a plain {size} Conv2d without bias' for size in ('1x1', '3x3'))
RATE = 'a rate of dropout is no float from 0 to below 1'
POOL = 'the pooling is not 2x2 with stride 2'
STEM_POOL = 'the pooling is not 3x3 with stride 2'


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        (put('1.norm2.momentum', None), 'a norm has no momentum: it averages over all steps'),
        (put('0.norm1.momentum', '0.1'), NOT_KEPT),
        (put('1.norm1.track_running_stats', False), NOT_KEPT),
        (put('1.norm2.training', False), 'some norms are in training and some in evaluation mode'),
        (put('1.norm1.eps', 1e-3), 'the norms have different eps'),
        (put('0.norm1.eps', 0.0), 'eps of a norm is no positive number'),
        (put('0.norm1.eps', 1), 'eps of a norm is no positive number'),
        (put('0.norm2.running_mean', None), OTHER_NORM),
        (put('0.norm2.running_var', None), OTHER_NORM),
        (put('0.norm2.num_batches_tracked', None), OTHER_NORM),
        (put('1.norm1.weight', None), OTHER_NORM),
        (put('1.norm1.bias', None), OTHER_NORM),
        (put('0.conv1.stride', (2, 2)), CONV1),
        (put('1.conv1.padding', (1, 1)), CONV1),
        (put('1.conv2.padding', (0, 0)), CONV3),
        (put('0.conv2.dilation', (2, 2)), CONV3),
        (put('0.conv2.padding_mode', 'circular'), CONV3),
        (put('0.conv2.groups', 2), CONV3),
        (put('0.conv2.bias', nn.Parameter(torch.zeros(4))), CONV3),
        (put('1.drop_rate', 0), RATE),
        (put('1.drop_rate', 1.0), RATE),
        (put('0.bottleneck_drop_rate', -0.1), RATE),
        (
            put('0.norm1', nn.GroupNorm(2, 8)),
            'the norm is GroupNorm, not a BatchNorm2d or SyncBN with running statistics',
        ),
    ],
)
def test_a_block_that_is_not_fused(net, change, reason):
    change(net)
    assert of_block(net).reason == why_not_fused(features(), net.stages[0].block) == reason
    assert of_stage(net).reason == reason


@pytest.mark.parametrize('name', ['act', 'norm1', 'conv1', 'norm2', 'conv2'])
def test_parts_of_other_kinds(net, name):
    class Own(type(getattr(net.stages[0].block[1], name))):
        def forward(self, x):
            return x

    part = getattr(net.stages[0].block[1], name)
    part.__class__ = Own
    assert 'Own' in of_block(net).reason


def test_what_is_no_layer():
    assert plan_block(features(), []).reason == 'there are no layers'
    assert plan_block(features(), [nn.Sequential()]).reason == "KeyError: 'norm1'"


@pytest.mark.parametrize(('size', 'fused'), [((1, 8, 1, 1), False), ((2, 8, 1, 1), True), ((1, 8, 1, 2), True)])
def test_a_variance_needs_two_values(net, size, fused):
    reason = of_block(net, features(*size)).reason
    assert reason == (None if fused else 'there is one value per channel')
    assert of_block(net.eval(), features(*size)).reason is None


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        (put('transitions.0.pool.kernel_size', 3), POOL),
        (put('transitions.0.pool.stride', 1), POOL),
        (put('transitions.0.pool.padding', (1, 1)), POOL),
        (put('transitions.0.pool.ceil_mode', True), POOL),
        (put('transitions.0.pool.divisor_override', 4), POOL),
        (put('transitions.0.conv.stride', (2, 2)), CONV1),
        (put('transitions.0.norm.eps', 1e-3), 'the norms have different eps'),
        (put('transitions.0.more', nn.Identity), 'the transition has other parts'),
    ],
)
def test_a_transition_that_is_computed_alone(net, change, reason):
    change(net)
    assert of_stage(net).reason == reason
    assert of_block(net).reason is None


@pytest.mark.parametrize(('size', 'fused'), [((2, 8, 1, 6), False), ((2, 8, 6, 1), False), ((2, 8, 2, 3), True)])
def test_features_that_cannot_be_pooled(net, size, fused):
    assert of_stage(net, features(*size)).reason == (None if fused else POOL)


def test_dropout_of_a_transition(net):
    parts = dict(net.transitions[0]._modules)
    pool = parts.pop('pool')
    del net.transitions[0].pool
    net.transitions[0].drop, net.transitions[0].pool = nn.Dropout(0.2), pool
    assert of_stage(net).reason == 'there is dropout in the transition'
    net.transitions[0].drop.p = 0
    assert of_stage(net).reason is None
    net.transitions[0].drop.p = 0.2
    assert of_stage(net.eval()).reason is None


def test_the_tensors_of_a_stage(net):
    plan = of_stage(net)
    first, second = net.stages[0].block
    transition = net.transitions[0]
    expected = []
    for norm, conv in (
        *((first.norm1, first.conv1), (first.norm2, first.conv2), (second.norm1, second.conv1)),
        *((second.norm2, second.conv2), (transition.norm, transition.conv)),
    ):
        expected += norm.weight, norm.bias, conv.weight
    found = plan.parameters()
    assert len(found) == len(expected) == 15 and all(a is b for a, b in zip(found, expected))
    norms = first.norm1, first.norm2, second.norm1, second.norm2, transition.norm
    buffers = [buffer for norm in norms for buffer in (norm.running_mean, norm.running_var)]
    assert len(plan.running_statistics()) == 10 and all(a is b for a, b in zip(plan.running_statistics(), buffers))
    assert plan.layers[1].norm2.batches is second.norm2.num_batches_tracked
    assert plan.layers[1].norm2.momentum == second.norm2.momentum and plan.eps == first.norm1.eps
    assert of_block(net).transition is None and len(of_block(net).parameters()) == 12

    settings = plan.settings()
    assert settings.layers == [] and settings.transition is None
    same = {field.name for field in fields(Plan)} - {'layers', 'transition'}
    assert all(getattr(settings, name) == getattr(plan, name) for name in same)


def test_a_block_without_bottlenecks():
    net = copy.deepcopy(PLAIN).train()
    first, second = net.stages[0].block
    plan = of_block(net)
    assert [layer.conv1 for layer in plan.layers] == [first.conv1.weight, second.conv1.weight]
    assert all(layer.norm2 is layer.conv2 is None for layer in plan.layers) and len(plan.parameters()) == 6
    assert len(plan.running_statistics()) == 4 and plan.inner_drop_rates == [0.0, 0.0]
    second.conv1.padding = 0, 0
    assert of_block(net).reason == CONV3


def test_modes(net):
    plan = of_block(net)
    assert (plan.reason, plan.training, plan.graph, plan.evaluated) == (None, True, True, False)
    plan = of_block(net.eval())
    assert (plan.reason, plan.training, plan.graph, plan.evaluated) == (None, False, True, False)
    with torch.no_grad():
        assert of_block(net).evaluated and not of_block(net).graph
        assert not of_block(net.train()).evaluated
    net.eval().requires_grad_(False)
    assert of_block(net).evaluated and not of_block(net, features().requires_grad_()).evaluated


def test_rates_of_dropout_count_in_training_alone(net):
    first, second = net.stages[0].block
    first.drop_rate, second.bottleneck_drop_rate = 0.25, 0.5
    plan = of_block(net)
    assert (plan.drop_rates, plan.inner_drop_rates) == ([0.25, 0.0], [0.0, 0.5])
    plan = of_block(net.eval())
    assert (plan.drop_rates, plan.inner_drop_rates) == ([0.0, 0.0], [0.0, 0.0])
    with torch.no_grad():
        first.training = True  # the layer's dropout alone
        assert not of_block(net).evaluated and of_block(net).drop_rates == [0.25, 0.0]


@pytest.mark.parametrize('rates', [(0.0, 0.0), (0.3, 0.0), (0.0, 0.3)])
def test_dropout_draws_in_one_memory_order(net, rates):
    for layer in net.stages[0].block:
        layer.drop_rate, layer.bottleneck_drop_rate = rates
    last = features().contiguous(memory_format=torch.channels_last)
    strided = features(2, 8, 6, 12)[..., ::2]
    refused = 'dropout draws in the order in memory, and features and weights are in different ones'
    assert of_block(net).reason is None and of_block(net, last).reason is None
    assert of_block(net, strided).reason == (refused if any(rates) else None)
    net.stages[0].block[1].conv2.to(memory_format=torch.channels_last)
    assert of_block(net).reason == (refused if any(rates) else None)
    net.to(memory_format=torch.channels_last)
    assert of_block(net).reason is None


def test_the_memory_order_that_dropout_draws_in(net):
    last = features().contiguous(memory_format=torch.channels_last)
    assert not of_block(net).layers_contiguous, 'nothing draws'
    net.stages[0].block[0].drop_rate = 0.3
    assert of_block(net).layers_contiguous and not of_block(net, last).layers_contiguous
    assert of_stage(net).layers_contiguous and not of_stage(net, contiguous=False).layers_contiguous
    net.to(memory_format=torch.channels_last)
    assert not of_block(net).layers_contiguous and not of_block(net, last).layers_contiguous


def test_the_memory_order_of_few_channels():
    """A weight of one input channel is in both orders; one of 1x1 has strides that tell."""
    net = DenseNet(dict(growth_rate=1, depths=[2, 1], init_channels=8), bn_size=1).train()
    net.stages[0].block[0].drop_rate = 0.3
    assert of_block(net).layers_contiguous
    net.to(memory_format=torch.channels_last)
    plan = of_block(net)
    assert plan.reason is None and not plan.layers_contiguous
    weight = net.stages[0].block[1].conv1.weight
    weight.data = weight.data.as_strided(weight.shape, (weight.shape[1], 1, 1, 1))
    assert 'dropout draws in the order in memory' in of_block(net).reason


def test_hooks_of_block_and_transition(net):
    for module in (net.stages[0], net.transitions[0]):
        handle = module.register_forward_hook(lambda *args: None)
        assert 'hook' in of_stage(net).reason and of_block(net).reason is None
        handle.remove()
    assert of_stage(net).reason is None


@pytest.mark.parametrize('name', ['conv2', 'norm2'])
def test_parts_that_only_some_layers_have(net, name):
    net.stages[0].block[1].__dict__[name] = nn.Identity()
    assert of_block(net).reason == 'a layer has parts of its own'
    for place in ('_modules', None):
        plain = copy.deepcopy(PLAIN).train()
        layer = plain.stages[0].block[1]
        (layer.__dict__ if place is None else layer._modules)[name] = nn.Identity()
        assert of_block(plain).reason == 'layers with and without a bottleneck are mixed'


def test_memory_order_of_the_maps(net):
    assert of_block(net, features(2, 8, 6, 12)[..., ::2]).contiguous, 'as torch.cat has it'
    last = features().contiguous(memory_format=torch.channels_last)
    assert of_block(net).contiguous and not of_block(net, last).contiguous
    assert of_stage(net, last, contiguous=True).contiguous and not of_stage(net, contiguous=False).contiguous
    assert of_stage(net).out_contiguous and not of_stage(net, last).out_contiguous
    net.transitions[0].to(memory_format=torch.channels_last)
    assert of_stage(net).contiguous and not of_stage(net).out_contiguous
    assert of_block(net.to(memory_format=torch.channels_last)).contiguous  # as torch.cat has it


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        (put('stem.3.kernel_size', 2), STEM_POOL),
        (put('stem.3.stride', 1), STEM_POOL),
        (put('stem.3.padding', 0), STEM_POOL),
        (put('stem.3.dilation', 2), STEM_POOL),
        (put('stem.3.ceil_mode', True), STEM_POOL),
        (put('stem.3.return_indices', True), STEM_POOL),
        (put('stem.4', nn.Identity), 'the stem has other parts'),
    ],
)
def test_a_stem_that_is_computed_part_by_part(net, change, reason):
    images, maps = torch.randn(2, 3, 16, 16), features(2, 8, 8, 8)
    assert is_stem(images, net.stem) and plan_stem(maps, net.stem).reason is None
    change(net)
    assert not is_stem(images, net.stem) and plan_stem(maps, net.stem).reason == reason


def test_a_stem_with_other_names(net):
    maps = features(2, 8, 10, 12)
    assert plan_stem(maps, net.stem).reason is None
    named = nn.Sequential(OrderedDict(zip('abcd', net.stem)))
    assert plan_stem(maps, named).reason == 'the stem has other parts'


def test_the_whole_stem(net):
    images, refused = torch.randn(2, 3, 16, 16), 'the whole stem is for evaluation without gradients'
    assert plan_stem(images, net.stem, images=True).reason == refused
    assert plan_stem(images, net.eval().stem, images=True).reason == refused
    with torch.no_grad():
        plan = plan_stem(images, net.stem, images=True)
        assert plan.reason is None and plan.conv is net.stem[0].weight and plan.norm.weight is net.stem[1].weight
        assert not plan.training and not plan.graph and plan.eps == net.stem[1].eps
        assert plan_stem(images, net.train().stem, images=True).reason == refused
        net.eval().stem[0].stride = 1, 1
        assert plan_stem(images, net.stem, images=True).reason == (
            'a convolution is not a plain 7x7 Conv2d without bias'
        )
    assert plan_stem(features(2, 8, 8, 8), net.train().stem).conv is None
    assert plan_stem(features(2, 8, 8, 8), net.stem).graph and plan_stem(features(2, 8, 8, 8), net.stem).training
