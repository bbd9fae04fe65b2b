"""The backbone: its family, its arguments, and mmpretrain's as the model of both."""

import copy
import inspect

import pytest
import torch
from helpers import TOLERANCE, assert_same, assert_same_state, count_parameters, randomise
from mmengine.registry import MODELS
from mmpretrain.models.backbones import DenseNet as TheirDenseNet
from torch import nn

from mmdensenet.errors import UserError
from mmdensenet.models import DenseNet

SMALL = dict(growth_rate=4, depths=[2, 3, 2], init_channels=8)

#: design: published counts with a head of 1000 and 10 classes
IMAGENET = {'121': 7_978_856, '169': 14_149_480, '201': 20_013_928, '161': 28_681_000, '264': 33_337_704}
CIFAR = [
    (40, 12, False, 1_019_722),
    (100, 12, False, 6_979_642),
    (100, 24, False, 27_249_082),
    (100, 12, True, 769_162),
    (250, 24, True, 15_324_406),
    (190, 40, True, 25_624_430),
]


def cifar_densenet(depth: int, growth_rate: int, bc: bool) -> DenseNet:
    layers = (depth - 4) // (6 if bc else 3)
    arch = dict(growth_rate=growth_rate, depths=[layers] * 3, init_channels=2 * growth_rate if bc else 16)
    return DenseNet(arch, stem='cifar', bottleneck=bc, compression_factor=0.5 if bc else 1.0)


@pytest.mark.parametrize('arch', IMAGENET)
def test_imagenet_parameter_counts(arch):
    model = DenseNet(arch)
    assert count_parameters(model) + 1000 * (model.out_channels[-1] + 1) == IMAGENET[arch]


@pytest.mark.parametrize(('depth', 'growth_rate', 'bc', 'parameters'), CIFAR)
def test_cifar_parameter_counts(depth, growth_rate, bc, parameters):
    model = cifar_densenet(depth, growth_rate, bc)
    assert count_parameters(model) + 10 * (model.out_channels[-1] + 1) == parameters


@pytest.mark.parametrize('arch', TheirDenseNet.arch_settings)
def test_state_dict_is_mmpretrains(arch):
    mine, theirs = DenseNet(arch).state_dict(), TheirDenseNet(arch).state_dict()
    assert list(mine) == list(theirs)
    assert all(mine[key].shape == theirs[key].shape for key in theirs)


def test_arguments_and_defaults_are_mmpretrains():
    mine = inspect.signature(DenseNet.__init__).parameters
    theirs = inspect.signature(TheirDenseNet.__init__).parameters
    assert list(mine)[: len(theirs)] == list(theirs), 'the same positions'
    assert {name: p.default for name, p in theirs.items()} == {name: mine[name].default for name in theirs}


@pytest.mark.parametrize(
    'kwargs',
    [
        dict(),
        dict(out_indices=[0, 1, 2]),
        dict(in_channels=1, bn_size=2, compression_factor=0.7),
        dict(norm_cfg=dict(type='GN', num_groups=1), act_cfg=dict(type='LeakyReLU', negative_slope=0.1)),
        dict(act_cfg=dict(type='PReLU')),
        dict(memory_efficient=True),
    ],
    ids=str,
)
@pytest.mark.parametrize('training', [True, False])
def test_outputs_and_gradients_are_mmpretrains(kwargs, training):
    theirs = randomise(TheirDenseNet(SMALL, **copy.deepcopy(kwargs) | dict(memory_efficient=False)).double())
    mine = DenseNet(SMALL, **kwargs).double()
    mine.load_state_dict(theirs.state_dict(), strict=True)
    mine.train(training)
    theirs.train(training)
    for _ in range(2):
        x = torch.randn(2, kwargs.get('in_channels', 3), 48, 40, dtype=torch.float64)
        for out, expected in zip(mine(x), theirs(x), strict=True):
            assert_same(out, expected)
            weight = torch.randn_like(out)
            out.backward(weight, retain_graph=True)
            expected.backward(weight, retain_graph=True)
    assert_same_state(mine, theirs, 10 * TOLERANCE)


@pytest.mark.parametrize('arch', ['121', SMALL])
def test_published_format_loads_strictly(arch, tmp_path):
    """OpenMMLab's files are {'meta', 'state_dict'} with backbone. and head. keys."""
    head = dict(type='mmpretrain.LinearClsHead', num_classes=1000, in_channels=1024 if arch == '121' else 18)
    parts = dict(type='mmpretrain.ImageClassifier', neck=dict(type='mmpretrain.GlobalAveragePooling'), head=head)
    theirs, mine = (
        MODELS.build(copy.deepcopy(dict(parts, backbone=dict(type=f'{scope}.DenseNet', arch=arch))))
        for scope in ('mmpretrain', 'mmdensenet')
    )
    with torch.no_grad():
        for parameter in theirs.parameters():  # not far from the initial ones, with which 121 layers stay finite
            parameter.add_(torch.randn_like(parameter) * 0.01)
    torch.save({'meta': {}, 'state_dict': theirs.state_dict()}, tmp_path / 'published.pth')
    mine.load_state_dict(torch.load(tmp_path / 'published.pth')['state_dict'], strict=True)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert_same(mine.eval()(images), theirs.eval()(images), 1e-5)


def test_arch_as_a_number():
    assert DenseNet(169).depths == DenseNet('169').depths


def test_he_initialisation():
    model = DenseNet('121')
    model.init_weights()
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            k, _, height, width = module.weight.shape
            assert module.weight.std().item() == pytest.approx((2 / (k * height * width)) ** 0.5, rel=0.05)
        elif isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all() and (module.bias == 0).all()


@pytest.mark.parametrize('stem', ['imagenet', 'cifar'])
def test_strides_and_channels(stem):
    first = 4 if stem == 'imagenet' else 1
    x = torch.randn(1, 3, 64, 96)
    for before, strides, channels in [
        (False, [first * 2, first * 4, first * 4], [8, 10, 18]),
        (True, [first, first * 2, first * 4], [16, 20, 18]),
    ]:
        model = DenseNet(SMALL, stem=stem, out_indices=(0, 1, 2), out_before_transition=before).eval()
        outs = model(x)
        assert [(64 // o.shape[2], 96 // o.shape[3]) for o in outs] == [(s, s) for s in strides]
        assert [o.shape[1] for o in outs] == channels == list(model.out_channels)


@pytest.mark.parametrize('engine', ['auto', 'reference'])
@pytest.mark.parametrize(
    ('size', 'kwargs', 'fits'),
    [
        (28, {}, False),
        (29, {}, True),
        (28, dict(out_indices=2), False),
        (28, dict(out_indices=2, out_before_transition=True), True),
        (7, dict(stem='cifar'), False),
        (8, dict(stem='cifar'), True),
    ],
)
def test_images_that_vanish_are_a_sentence(engine, size, kwargs, fits):
    net = DenseNet(dict(growth_rate=4, depths=(1, 1, 1, 1), init_channels=8), engine=engine, **kwargs).eval()
    if fits:
        assert min(net(torch.zeros(1, 3, 40, size))[0].shape) > 0
    else:
        with pytest.raises(UserError, match=r'too small: \d+x1 is left where DenseNet divides .* by 2. Enlarge'):
            net(torch.zeros(1, 3, 40, size))


@pytest.mark.parametrize('engine', ['auto', 'reference'])
@pytest.mark.parametrize('pool', [nn.Identity(), nn.AvgPool2d(2, 2, ceil_mode=True)])
def test_only_images_that_vanish_are_refused(engine, pool):
    net = DenseNet(dict(growth_rate=4, depths=(1, 1, 1, 1), init_channels=8), engine=engine).eval()
    net.transitions[2].pool = pool
    assert net(torch.zeros(1, 3, 28, 28))[0].shape[2:] == (1, 1)


def test_features_before_the_transition_are_the_blocks():
    model = DenseNet('121', out_indices=(0, 1, 2, 3), out_before_transition=True).eval()
    blocks = []
    for stage in model.stages:
        stage.register_forward_hook(lambda module, args, out: blocks.append(out))
    outs = model(torch.randn(1, 3, 64, 64))
    assert [64 // o.shape[2] for o in outs] == [4, 8, 16, 32]
    assert [o.shape[1] for o in outs] == [256, 512, 1024, 1024]
    for out, features in zip(outs[:3], blocks):
        assert torch.equal(out, features)
    assert torch.equal(outs[3], model.transitions[3](blocks[3]))


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(arch='122'), "arch='122': choose one of 121"),
        (dict(arch=dict(growth_rate=3, depths=[1])), 'arch lacks init_channels'),
        (dict(arch=dict(growth_rate=3, depths=[1], init_channels=4, bn_size=2)), 'arch: bn_size is unknown'),
        (dict(stem='mnist'), "choose 'imagenet' or 'cifar'"),
        (dict(stem='cifar', stem_blur=True), 'has no pooling'),
        (dict(drop_rate=1.5), 'give a probability'),
        (dict(drop_after='block'), "choose 'layer' or 'convolution'"),
    ],
)
def test_wrong_arguments_say_what_is_right(kwargs, message):
    with pytest.raises(ValueError, match=message):
        DenseNet(**kwargs)


def test_dropout_after_each_convolution_but_the_first():
    """Section 4.2 of the paper. Keys of the state dict and the evaluation stay the same."""
    plain, layer, each = (
        DenseNet(SMALL, drop_rate=rate, drop_after=after).eval()
        for rate, after in ((0, 'layer'), (0.5, 'layer'), (0.5, 'convolution'))
    )
    rates = [
        [(unit.bottleneck_drop_rate, unit.drop_rate) for stage in model.stages for unit in stage.block]
        + [getattr(transition, 'drop', nn.Dropout(0)).p for transition in model.transitions]
        for model in (layer, each)
    ]
    assert rates == [[(0, 0.5)] * 7 + [0, 0, 0], [(0.5, 0.5)] * 7 + [0.5, 0.5, 0]]
    x = torch.randn(2, 3, 64, 64)
    for model in (layer, each):
        model.load_state_dict(plain.state_dict(), strict=True)
        assert torch.equal(model(x)[0], plain(x)[0])
        assert not torch.equal(model.train()(x)[0], model(x)[0])
    torch.manual_seed(0)
    frozen = DenseNet(SMALL, drop_rate=0.5, drop_after='convolution', frozen_stages=3)
    assert torch.equal(frozen(x)[0], frozen(x)[0]), 'nothing is dropped in frozen stages'


def test_norm_eval_keeps_statistics_and_trains_weights():
    model = DenseNet(SMALL, norm_eval=True).train()
    assert model.training and not any(m.training for m in model.modules() if isinstance(m, nn.BatchNorm2d))
    model(torch.randn(2, 3, 32, 32))[0].mean().backward()
    assert model.stem[1].num_batches_tracked == 0
    assert model.stem[1].weight.grad is not None
    assert model.eval() is model


def test_channels_last_changes_the_layout_only():
    plain = randomise(DenseNet(SMALL).double()).eval()
    last = DenseNet(SMALL, channels_last=True).double().eval()
    last.load_state_dict(plain.state_dict())
    assert last.stages[0].block[0].conv2.weight.is_contiguous(memory_format=torch.channels_last)
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    out = last(x)[0]
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert_same(out, plain(x)[0])


def test_registered_in_a_scope_of_its_own():
    from mmpretrain.registry import MODELS as THEIRS

    assert THEIRS.get('mmdensenet.DenseNet') is MODELS.get('mmdensenet.DenseNet') is DenseNet
    assert THEIRS.get('DenseNet') is TheirDenseNet, "mmpretrain's own stays what it was"


@pytest.mark.parametrize('blur', [False, True])
def test_deep_stem(blur):
    """Three convolutions, of half the channels in the first two; the engines agree."""
    arch = dict(growth_rate=4, depths=(2, 2), init_channels=8)
    nets = [
        randomise(DenseNet(arch, stem='deep', stem_blur=blur, engine=engine).double())
        for engine in ('fused', 'reference')
    ]
    convolutions = [part for part in nets[0].stem if isinstance(part, nn.Conv2d)]
    assert [(c.out_channels, c.kernel_size, c.stride) for c in convolutions] == [
        (4, (3, 3), (2, 2)), (4, (3, 3), (1, 1)), (8, (3, 3), (1, 1))
    ]  # fmt: skip
    images = torch.randn(2, 3, 33, 38, dtype=torch.float64)
    for net in nets:
        net(images)[0].square().sum().backward()
    assert_same_state(*nets)
    with torch.no_grad():
        assert_same(nets[0].eval()(images)[0], nets[1].eval()(images)[0])
        assert nets[0].stem(images).shape == (2, 8, 9, 10)
