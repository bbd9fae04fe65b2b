"""RDNet beside timm's, and its arguments."""

import copy
import io
import re

import pytest
import torch
from helpers import assert_same, count_parameters, randomise
from mmengine.registry import MODELS
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import apply_activation_checkpointing

from mmdensenet.convert import convert_state_dict
from mmdensenet.errors import UserError
from mmdensenet.models import DenseNet, NormedAveragePooling, RDNet, RDNetBlock
from mmdensenet.models.densenet import DenseLayer

SMALL = dict(growth_rates=(8, 16, 8, 8), downsample=(1, 2, 3), init_channels=16)
PUBLISHED = {
    'tiny': (23_863_008, (256, 440, 744, 1040)),
    'small': (50_436_448, (264, 512, 760, 1264)),
    'base': (87_451_096, (408, 584, 1000, 1760)),
    'large': (186_269_632, (528, 840, 1528, 2000)),
}


@pytest.mark.parametrize('arch', PUBLISHED)
def test_published_parameters_and_channels(arch):
    with torch.device('meta'):
        net = RDNet(arch, out_indices=(0, 1, 2, 3))
    parameters, channels = PUBLISHED[arch]
    assert net.out_channels == channels
    head = 2 * channels[-1] + 1001 * channels[-1] - channels[-1] + 1000  # norm and linear layer
    assert count_parameters(net) + head == parameters


SLOW = [pytest.param(arch, 1e-6, marks=pytest.mark.slow) for arch in ('small', 'base', 'large')]


@pytest.mark.parametrize(('arch', 'eps'), [('tiny', 1e-6), ('tiny', 1e-5), *SLOW])
def test_logits_and_features_are_timms(arch, eps):
    timm = pytest.importorskip('timm', reason='timm is not installed (requirements/peers.txt)')
    with torch.device('meta'):
        theirs = timm.create_model(f'rdnet_{arch}')
    theirs = randomise_weights(theirs.to_empty(device='cpu').double()).eval()
    theirs.head.norm.eps = eps  # 1e-5 is the authors'
    converted, _ = convert_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, 32, 64, dtype=torch.float64)
    with torch.no_grad():
        expected = theirs(images)
        expected_features = theirs.forward_intermediates(images, intermediates_only=True)
    for engine in ('fused', 'reference'):
        with torch.device('meta'):
            ours = Classifier(arch, engine, eps)
        ours = ours.to_empty(device='cpu').double().eval()
        ours.load_state_dict(converted)
        with torch.no_grad():
            features = ours.backbone(images)
            logits = ours(features)
        assert logits.abs().max() > 0.1
        assert (logits - expected).abs().max() < 1e-9
        for actual, feature in zip(features, expected_features, strict=True):
            assert_same(actual, feature)


class Classifier(nn.Module):
    """Backbone, neck and linear layer under the names of mmpretrain's classifier; called with the features."""

    def __init__(self, arch, engine, eps):
        super().__init__()
        self.backbone = RDNet(arch, out_indices=(0, 1, 2, 3), engine=engine)
        self.neck = NormedAveragePooling(self.backbone.out_channels[-1], eps)
        self.head = nn.Module()
        self.head.fc = nn.Linear(self.backbone.out_channels[-1], 1000)

    def forward(self, features):
        return self.head.fc(self.neck(features)[0])


def randomise_weights(model):
    """Of a size with which activations stay in range through dozens of layers."""
    generator = torch.Generator().manual_seed(0)
    for tensor in model.state_dict().values():
        fan = tensor[0].numel() if tensor.dim() > 1 else 4
        tensor.copy_(torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype) / fan**0.5)
    return model


@pytest.mark.parametrize('arch', ['tiny', SMALL])
def test_drop_path_rises_linearly_over_all_blocks(arch):
    with torch.device('meta'):
        net = RDNet(arch, drop_path_rate=0.3)
    rates = [rate for stage in net.stages for rate in stage.drop_path_rates]
    assert rates == pytest.approx([0.3 * i / (len(rates) - 1) for i in range(len(rates))])


@pytest.mark.parametrize('layer_scale_init_value', [0.5, 0.0])
def test_drop_path_keeps_the_mean_under_autocast(layer_scale_init_value):
    """A bfloat16 mask would be 0.3 % too large; timm's is of the type that gamma gives the channels."""
    torch.manual_seed(0)
    net = RDNet(SMALL, drop_path_rate=0.15, layer_scale_init_value=layer_scale_init_value).train()
    images, masks = torch.randn(4, 3, 32, 32), []
    given = net.stages[3].blocks[2]
    given.register_forward_pre_hook(lambda _, arguments: masks.append(arguments[1]))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        net(images)
    dtype = torch.float32 if layer_scale_init_value else torch.bfloat16
    kept = torch.tensor(1.0, dtype=dtype) / (1 - 0.15)
    assert masks[0].dtype is dtype and set(masks[0].flatten().tolist()) <= {0.0, kept.item()}


def test_levels_are_what_indices_and_frozen_stages_count():
    arch = dict(SMALL, growth_rates=(8, 16, 8, 8, 8), downsample=(1, 3), ese=(False, True, False, True, True))
    net = randomise(RDNet(arch, out_indices=(0, -1), frozen_stages=2, drop_path_rate=0.5))
    assert net.level_bounds == (0, 1, 3, 5)
    assert [stage.blocks[0].ese is not None for stage in net.stages] == list(arch['ese'])
    features = net.train()(torch.randn(2, 3, 64, 32))
    assert [tuple(f.shape[1:]) for f in features] == [
        (net.out_channels[i], 64 // s, 32 // s) for i, s in enumerate((4, 16))
    ]
    sum(f.sum() for f in features).backward()
    trained = {re.sub(r'^(stem|stages\.\d).*', r'\1', n) for n, p in net.named_parameters() if p.grad is not None}
    assert trained == {'stages.3', 'stages.4'}
    assert [stage.training for stage in net.stages] == [False, False, False, True, True], 'no drop path in frozen ones'
    again = net(torch.ones(1, 3, 32, 32))[0]
    assert_same(net(torch.ones(1, 3, 32, 32))[0], again, 0)


def test_norm_eval_changes_nothing():
    torch.manual_seed(0)
    net = RDNet(SMALL).train()
    other = RDNet(SMALL, norm_eval=True).train()
    other.load_state_dict(net.state_dict())
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(net(images)[0], other(images)[0]) and all(module.training for module in other.modules())


def test_memory_efficient_and_channels_last_give_the_same():
    torch.manual_seed(0)
    net = randomise(RDNet(SMALL)).double()
    images = torch.randn(2, 3, 32, 48, dtype=torch.float64)
    expected = net(images)[0]
    expected.sum().backward()
    other = RDNet(SMALL, memory_efficient=True, channels_last=True).double()
    other.load_state_dict(copy.deepcopy(net.state_dict()))
    other(images)[0].sum().backward()
    assert other.stem[0].weight.is_contiguous(memory_format=torch.channels_last)
    for (name, parameter), theirs in zip(other.named_parameters(), net.parameters()):
        assert_same(parameter.grad, theirs.grad, name=name)


@pytest.mark.parametrize('channels_last', [False, True])
@pytest.mark.parametrize('kind', [RDNet, DenseNet])
def test_whole_modules_are_saved(kind, channels_last):
    """As a trainer saves a model beside its weights: torch.save has another pickle protocol than copies."""
    arch = SMALL if kind is RDNet else dict(growth_rate=4, depths=(2, 2), init_channels=8)
    net = kind(arch, channels_last=channels_last).eval()
    file = io.BytesIO()
    torch.save(net, file)
    file.seek(0)
    again, images = torch.load(file, weights_only=False), torch.randn(1, 3, 32, 32)
    assert again.memory_format is net.memory_format
    with torch.no_grad():
        assert torch.equal(again(images)[0], net(images)[0])


@pytest.mark.parametrize(
    ('size', 'level', 'message'),
    [
        ((3, 40), 0, 'too small: 3x40 is left where RDNet divides height and width by 4'),
        ((31, 40), -1, 'too small: 1x2 is left where RDNet divides height and width by 2. .* at least 32x32'),
        ((31, 40), 2, None),
        ((4, 5), 0, None),
        ((32, 33), -1, None),
    ],
)
@pytest.mark.parametrize('engine', ['auto', 'reference'])
def test_images_that_vanish_are_a_sentence(engine, size, level, message):
    net = RDNet(SMALL, out_indices=level, engine=engine).eval()
    if message is None:
        assert min(net(torch.zeros(1, 3, *size))[0].shape) > 0
    else:
        with pytest.raises(UserError, match=message):
            net(torch.zeros(1, 3, *size))


@pytest.mark.parametrize('kind', [RDNet, DenseNet])
def test_single_layers_are_checkpointed(kind):
    """As torch's wrapper does it for the layers of a class, which are computed again from what they were given."""
    arch = dict(SMALL, ese=(False,) * 4) if kind is RDNet else dict(growth_rate=4, depths=(2, 3), init_channels=8)
    net = randomise(kind(arch)).double().eval()
    wrapped = copy.deepcopy(net)
    layers = (RDNetBlock, DenseLayer)
    apply_activation_checkpointing(wrapped, check_fn=lambda module: isinstance(module, layers))
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    for model in (net, wrapped):
        model(images)[0].square().sum().backward()
    for (name, parameter), other in zip(net.named_parameters(), wrapped.parameters(), strict=True):
        assert_same(other.grad, parameter.grad, name=name)


@pytest.mark.parametrize('kind', [RDNet, DenseNet])
def test_gradients_of_single_images_with_channels_last(kind):
    """torch.func's tensors in vmap have another number of dimensions, and no memory format."""
    arch = SMALL if kind is RDNet else dict(growth_rate=4, depths=(2, 2), init_channels=8)
    net = randomise(kind(arch, channels_last=True)).double().eval()
    images, parameters = torch.randn(2, 3, 32, 32, dtype=torch.float64), dict(net.named_parameters())

    def loss(parameters, image):
        return torch.func.functional_call(net, parameters, (image[None],))[0].square().sum()

    found = torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, images)
    for i, image in enumerate(images):
        expected = torch.autograd.grad(loss(parameters, image), list(parameters.values()))
        for (name, gradients), gradient in zip(found.items(), expected):
            assert_same(gradients[i], gradient, name=name)


def test_initialisation():
    torch.manual_seed(0)
    net = MODELS.build(dict(type='mmdensenet.RDNet', layer_scale_init_value=1e-6))
    net.init_weights()
    assert all((block.gamma == 1e-6).all() for stage in net.stages for block in stage.blocks)
    weight = net.stages[3].blocks[2].pwconv1.weight
    assert weight.std().item() == pytest.approx((2 / weight.shape[1]) ** 0.5, rel=0.02)
    assert RDNet(SMALL, layer_scale_init_value=0).stages[0].blocks[0].gamma is None


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(arch='huge'), "arch='huge': choose one of tiny, small, base, large"),
        (dict(arch=dict(growth_rates=(8,))), 'arch lacks downsample, init_channels; it has growth_rates'),
        (dict(arch=dict(SMALL, downsample=(0, 2))), r'downsample=\(0, 2\) are to be stages from 1 to 3'),
        (dict(arch=dict(SMALL, downsample=(2, 1))), 'in ascending order'),
        (dict(arch=dict(SMALL, depths=(3, 3))), 'depths has 2 values for the 4 stages'),
        (dict(arch=dict(SMALL, ese=(True,))), 'ese has 1 values for the 4 stages'),
        (dict(arch=dict(SMALL, depth=(1, 1, 1, 1))), 'arch: depth is unknown; known are .*init_channels, depths, ese'),
        (
            dict(arch=dict(SMALL, growth_rates=(8, 0, 8, 8))),
            r'growth_rates=\(8, 0, 8, 8\) and init_channels .* positive',
        ),
        (dict(arch=dict(SMALL, growth_rates=())), r'growth_rates=\(\) and init_channels'),
        (dict(arch=SMALL, compression_factor=0.1), 'compression_factor=0.1: none of 40 channels is left'),
        (dict(arch=SMALL, bottleneck_ratio=0.4), 'bottleneck_ratio=0.4: none of 16 channels is left'),
        (dict(arch=SMALL, out_indices=()), 'out_indices is empty: give one or more of the 4 levels'),
        (dict(arch=SMALL, drop_path_rate=1.0), 'drop_path_rate=1.0: give a probability'),
        (dict(arch=SMALL, engine='fast'), "engine='fast': choose 'auto'"),
    ],
)
def test_what_does_not_fit_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        RDNet(**arguments)


@pytest.mark.parametrize('given', [0, 1])
def test_neck_reads_the_last_features(given):
    neck = NormedAveragePooling(6)
    x = torch.randn(2, 6, 3, 4)
    (out,) = neck((torch.zeros(2, 3, 6, 8), x) if given else x)
    expected = nn.functional.layer_norm(x.mean((2, 3)), (6,), eps=1e-6)
    assert_same(out, expected, 1e-6)
