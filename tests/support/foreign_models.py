"""Small DenseNets of other libraries with random weights, and how their files look."""

import re
from collections import OrderedDict

import pytest
import torch
from torch import nn

from mmdensenet.models import DenseNet

GROWTH, DEPTHS, INIT, CLASSES = 4, (2, 3, 2, 1), 10, 7


def randomise(model: nn.Module, seed: int = 0) -> nn.Module:
    """Random norms and running statistics; default weights, so that logits keep a usual size."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if name.endswith('running_var') or (tensor.dim() == 1 and name.endswith('weight')):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
        elif tensor.dim() == 1 and tensor.is_floating_point():
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.3)
        elif tensor.is_floating_point():
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * tensor[0].numel() ** -0.5)
    return model.eval()


def torchvision_model(in_channels: int = 3, **settings) -> nn.Module:
    from torchvision.models import DenseNet as Theirs

    model = Theirs(
        **dict(dict(growth_rate=GROWTH, block_config=DEPTHS, num_init_features=INIT, num_classes=CLASSES), **settings)
    )
    if in_channels != 3:
        model.features.conv0 = nn.Conv2d(in_channels, INIT, 7, 2, 3, bias=False)
    return model


def timm_model(in_channels: int = 3) -> nn.Module:
    timm = pytest.importorskip('timm', reason='timm is not installed (requirements/peers.txt)')
    return timm.models.densenet.DenseNet(
        growth_rate=GROWTH, block_config=DEPTHS, num_classes=CLASSES, in_chans=in_channels
    )


def monai_model(in_channels: int = 3) -> nn.Module:
    nets = pytest.importorskip('monai.networks.nets', reason='MONAI is not installed (requirements/peers.txt)')
    return nets.DenseNet(2, in_channels, CLASSES, INIT, GROWTH, DEPTHS)


def torchxrayvision_model(in_channels: int = 1) -> nn.Module:
    xrv = pytest.importorskip('torchxrayvision', reason='torchxrayvision is not installed (requirements/peers.txt)')
    return xrv.models.DenseNet(GROWTH, DEPTHS, INIT, num_classes=CLASSES, in_channels=in_channels, weights=None)


def mmpretrain_model(in_channels: int = 3) -> nn.Module:
    from mmpretrain.registry import MODELS

    arch = dict(growth_rate=GROWTH, depths=list(DEPTHS), init_channels=INIT)
    features = torchvision_model().classifier.in_features
    return MODELS.build(
        dict(
            type='mmpretrain.ImageClassifier',
            backbone=dict(type='mmpretrain.DenseNet', arch=arch, in_channels=in_channels),
            neck=dict(type='mmpretrain.GlobalAveragePooling'),
            head=dict(type='mmpretrain.LinearClsHead', num_classes=CLASSES, in_channels=features),
        )
    )


MODELS_OF = dict(
    torchvision=torchvision_model,
    timm=timm_model,
    monai=monai_model,
    torchxrayvision=torchxrayvision_model,
    mmpretrain=mmpretrain_model,
)


def logits_of(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Of the source's model, which may be mmpretrain's classifier."""
    set_evaluation(model)
    with torch.no_grad():
        if hasattr(model, 'extract_feat'):
            return model.head(model.extract_feat(images))
        return model(images)


def set_evaluation(model: nn.Module) -> None:
    for module in model.modules():  # mmpretrain's DenseNet.eval() returns None
        module.training = False


def ours(report, state: dict, in_channels: int | None = None, dtype=torch.float32) -> nn.Module:
    """Our classifier of the reported architecture with converted weights, loaded strictly."""
    arch = report.architecture
    model = nn.Module()
    model.backbone = DenseNet(**arch.backbone(in_channels))
    model.head = nn.Module()
    model.head.fc = nn.Linear(arch.features, arch.num_classes)
    model.to(dtype).eval().load_state_dict(state, strict=True)
    model.forward = lambda x: model.head.fc(model.backbone(x)[-1].mean((2, 3)))
    return model


def rename(state: dict, *rules: tuple[str, str], prefix: str = '') -> OrderedDict:
    for pattern, new in rules:
        state = {re.sub(pattern, new, key): value for key, value in state.items()}
    return OrderedDict((prefix + key, value) for key, value in state.items())


LEGACY = (r'(denselayer\d+)\.(norm|conv)([12])', r'\1.\2.\3')


def published_forms(state: dict) -> dict[str, tuple[dict, str]]:
    """Files as people have them, made from a torchvision state dict, with the layout to be reported."""
    tv = 'torchvision'
    old = 'torchvision, legacy keys'
    chexnet = rename(state, LEGACY, (r'^classifier\.', 'classifier.0.'), prefix='module.densenet121.')
    return {
        'plain': (state, tv),
        'legacy': (rename(state, LEGACY), old),
        'data parallel': (rename(state, prefix='module.'), tv),
        'CheXNet': (dict(epoch=3, state_dict=chexnet, best_loss=0.5), old),
        'CheXNet, new keys': (rename(state, (r'^classifier\.', 'classifier.0.'), prefix='densenet121.'), tv),
        'Lightning': (
            {
                'pytorch-lightning_version': '2.1.0',
                'state_dict': dict(rename(state, prefix='model.'), **{'criterion.pos_weight': torch.ones(CLASSES)}),
                'hyper_parameters': dict(lr=0.1),
            },
            tv,
        ),
        'checkpoint with model': (dict(model=state, optimizer=dict(lr=1)), tv),
        'checkpoint with model_state_dict': (dict(model_state_dict=rename(state, prefix='net.')), tv),
        'efficient_densenet_pytorch': (rename(state, (r'norm5', 'norm_final')), 'efficient_densenet_pytorch'),
        'efficient_densenet_pytorch, 2017': (
            rename(state, LEGACY, (r'norm5', 'norm_final')),
            'efficient_densenet_pytorch',
        ),
        # its efficient model of 2017 had the norm and the convolution before the bottleneck in one module
        'efficient_densenet_pytorch, fused': (
            dict(
                rename(state, (r'\.(norm|conv)1\.', r'.bn.\1_'), LEGACY, (r'norm5', 'norm_final')),
                **{'features.denseblock1.CatBN_output_buffer': torch.zeros(1)},
            ),
            'efficient_densenet_pytorch',
        ),
        'without batch counters': ({k: v for k, v in state.items() if not k.endswith('num_batches_tracked')}, tv),
        'torchxrayvision with thresholds': (dict(state, op_threshs=torch.rand(CLASSES)), tv),
    }
