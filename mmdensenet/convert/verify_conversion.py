"""Compares the logits of converted weights with those of the source's library on the same input."""

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mmdensenet.errors import UserError
from mmdensenet.extras import imported

from .architecture import Architecture
from .convert import Report, convert_state_dict, unwrap
from .rdnet_weights import RDNetArchitecture, timm_rdnet

#: the largest difference in logits that float32 explains, relative to the largest logit
TOLERANCE = 1e-4


def verify_conversion(checkpoint: Mapping, report: Report, images: Sequence[str] = ()) -> str:
    """Compare the logits of the weights in their library's model and in ours, in evaluation mode and float32.

    Args:
        checkpoint: the checkpoint before the conversion.
        images: paths of images; random input if there are none.

    Returns:
        One line with the largest difference, the library and the input.

    Raises:
        UserError: if the library is not installed, or the logits differ.
    """
    arch = report.architecture
    tensors = {key: value for key, value in unwrap(checkpoint).items() if key.startswith(report.prefix)}
    if report.missing or arch.num_classes is None:
        raise UserError('`verify` needs weights with all tensors and a head: there are no logits to compare.')
    theirs, library = source_model(unwrap(checkpoint), tensors, report)
    ours = _Classifier(*arch.modules(), arch.features, arch.num_classes)
    ours.load_state_dict(convert_state_dict(checkpoint, prefix=report.prefix, partial=True)[0])
    batch = read_images(images, arch) if images else random_images(arch)
    with torch.no_grad():
        expected, actual = theirs.eval()(batch), ours.eval()(batch)
    difference = (actual - expected).abs().max().item()
    largest = expected.abs().max().item()
    what = f'{len(images)} images' if images else 'random input'
    line = f'the logits differ by at most {difference:.2g} from {library} (largest logit {largest:.3g}; {what})'
    if not difference <= TOLERANCE * max(1.0, largest):
        raise UserError(f'`verify` failed: {line}.')
    return line


class _Classifier(nn.Module):
    """Backbone, neck and linear layer, under the names of mmpretrain's ImageClassifier."""

    def __init__(self, backbone: nn.Module, neck: nn.Module, features: int, num_classes: int):
        super().__init__()
        self.backbone, self.neck = backbone, neck
        self.head = nn.Module()
        self.head.fc = nn.Linear(features, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head.fc(self.neck(self.backbone(x))[0])


def source_model(everything: Mapping[str, Tensor], tensors: Mapping[str, Tensor], report: Report):
    """The source library's model with the source's weights, and the library's name."""
    if report.layout.name == 'mmpretrain':
        return _mmpretrain(everything, report), 'mmpretrain'
    weights = {key.removeprefix(report.prefix): value for key, value in tensors.items()}
    weights = {key: value for key, value in weights.items() if report.prefix + key in report.used}
    if isinstance(report.architecture, RDNetArchitecture):
        if report.layout.ours:
            raise UserError('`verify`: these weights are in our own layout; there is nothing to compare them with.')
        return timm_rdnet(report.architecture, weights), 'timm'
    if report.architecture.stem == 'deep':
        return _timm(weights, report.architecture), 'timm'
    if report.layout.name == 'MONAI':
        return _monai(weights, report.architecture), 'MONAI'
    if report.layout.name == 'Keras':
        return _keras(everything, report), "torchvision, with Keras' epsilon"
    return _torchvision(weights, report.architecture), 'torchvision'


def _keras(everything: Mapping[str, Tensor], report: Report) -> nn.Module:
    """torchvision's network, which equals that of keras.applications but for names and epsilon; Keras does not run."""
    parts = {'conv1_conv': 'features.conv0', 'conv1_bn': 'features.norm0', 'bn': 'features.norm5'}
    layers = {'0_bn': 'norm1', '1_conv': 'conv1', '1_bn': 'norm2', '2_conv': 'conv2'}
    weights = {}
    for key in report.used:
        layer, _, variable = key.removeprefix(report.prefix).rpartition('.')
        if match := re.fullmatch(r'conv(\d+)_block(\d+)_(\d_\w+)', layer):
            name = f'features.denseblock{int(match[1]) - 1}.denselayer{match[2]}.{layers[match[3]]}'
        elif match := re.fullmatch(r'pool(\d+)_(\w+)', layer):
            name = f'features.transition{int(match[1]) - 1}.{match[2].replace("bn", "norm")}'
        else:
            name = parts.get(layer, 'classifier')
        weights[f'{name}.{variable}'] = everything[key]
    model = _torchvision(weights, report.architecture)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = report.architecture.norm_eps
    return model


def _torchvision(weights: dict[str, Tensor], arch: Architecture) -> nn.Module:
    """torchvision's model, also for libraries that use its new or its older names."""
    from torchvision.models import DenseNet

    model = DenseNet(arch.growth_rate, arch.depths, arch.init_channels, arch.bn_size, num_classes=arch.num_classes)
    if arch.stem == 'cifar':
        for name in ('norm0', 'relu0', 'pool0'):
            delattr(model.features, name)
    kernel, stride = (3, 1) if arch.stem == 'cifar' else (7, 2)
    model.features.conv0 = nn.Conv2d(arch.in_channels, arch.init_channels, kernel, stride, kernel // 2, bias=False)
    renames = [
        (r'\.(norm|conv)\.([12])\.', r'.\1\2.'),
        (r'\.bn\.(norm|conv)_', r'.\g<1>1.'),
        (r'\.norm_final\.', '.norm5.'),
        (r'^classifier\.\d+\.', 'classifier.'),
    ]
    for pattern, new in renames:
        weights = {re.sub(pattern, new, key): value for key, value in weights.items()}
    return _load(model, weights)


def _timm(weights: dict[str, Tensor], arch: Architecture) -> nn.Module:
    needed = '`verify` of these weights needs timm'
    model = imported('timm.models.densenet', needed).DenseNet(
        arch.growth_rate,
        arch.depths,
        num_classes=arch.num_classes,
        in_chans=arch.in_channels,
        bn_size=arch.bn_size,
        stem_type='deep',
        aa_layer=imported('timm.layers', needed).BlurPool2d if arch.stem_blur else None,
    )
    return _load(model, weights)


def _monai(weights: dict[str, Tensor], arch: Architecture) -> nn.Module:
    model = imported('monai.networks.nets', '`verify` of these weights needs MONAI').DenseNet(
        2, arch.in_channels, arch.num_classes, arch.init_channels, arch.growth_rate, arch.depths, arch.bn_size
    )
    return _load(model, weights)


def _mmpretrain(everything: Mapping[str, Tensor], report: Report) -> nn.Module:
    from mmpretrain.models.backbones import DenseNet

    arch = report.architecture
    if arch.stem != 'imagenet' or not arch.bottleneck:
        raise UserError(f'`verify`: mmpretrain has no {arch.name}, and there is nothing else to compare with.')
    arguments = arch.backbone()
    model = _Classifier(
        DenseNet(
            arch=arguments['arch'],
            in_channels=arch.in_channels,
            bn_size=arch.bn_size,
            compression_factor=arch.compression_factor,
        ),
        arch.modules()[1],
        arch.features,
        arch.num_classes,
    )
    outer = report.prefix.removesuffix('backbone.')
    for module in model.modules():  # mmpretrain's train() returns nothing, and so would eval()
        module.training = False
    model.eval = lambda: model
    return _load(model, {key.removeprefix(outer): everything[key] for key in report.used})


def _load(model: nn.Module, weights: dict[str, Tensor]) -> nn.Module:
    missing, unexpected = model.load_state_dict(weights, strict=False)
    missing = [key for key in missing if not key.endswith('num_batches_tracked')]
    if missing or unexpected:
        raise UserError(f'`verify`: the library has no {unexpected[:2]} and needs {missing[:2]}.')
    return model


def random_images(arch: Architecture) -> Tensor:
    """Two images of normally distributed pixels, of the architecture's size."""
    return torch.randn(2, arch.in_channels, arch.side, arch.side, generator=torch.Generator().manual_seed(0))


def read_images(files: Sequence[str], arch: Architecture) -> Tensor:
    """Images as tensors: resize the short side, crop the centre, normalise with ImageNet's mean and deviation."""
    import numpy as np
    from PIL import Image, ImageOps

    side = arch.side
    tensors = []
    for file in files:
        try:
            image = ImageOps.fit(Image.open(file).convert('L' if arch.in_channels == 1 else 'RGB'), (side, side))
        except OSError as error:
            raise UserError(f'{file} cannot be read as an image.') from error
        pixels = torch.from_numpy(np.array(image, dtype=np.float32)).reshape(side, side, -1).permute(2, 0, 1) / 255
        if pixels.shape[0] == 3:
            mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
            pixels = (pixels - mean[:, None, None]) / std[:, None, None]
        if pixels.shape[0] != arch.in_channels:
            raise UserError(f'`verify`: images have 1 or 3 channels, the model {arch.in_channels}: give none.')
        tensors.append(pixels)
    return torch.stack(tensors)
