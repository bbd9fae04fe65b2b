"""Files as Keras writes them, made with h5py from a torchvision DenseNet, which is keras.applications' network."""

import io
import json
import re
import zipfile

import h5py
import numpy as np
import torch
from foreign_models import randomise, torchvision_model
from torch import nn

EPSILON = 1.001e-5
VARIABLES = dict(weight='gamma', bias='beta', running_mean='moving_mean', running_var='moving_variance')
CLASSES_OF_LAYERS = dict(conv='Conv2D', bn='BatchNormalization', predictions='Dense')


def keras_network() -> nn.Module:
    """Small variances, where the epsilon counts."""
    model = randomise(torchvision_model())
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = EPSILON
            module.running_var.mul_(1e-3)
    return model


def layers_of(model: nn.Module) -> dict[str, dict[str, np.ndarray]]:
    """Variables of each layer under the names and in the order of axes of keras.applications."""
    names = {'features.conv0': 'conv1_conv', 'features.norm0': 'conv1_bn', 'features.norm5': 'bn'}
    parts = dict(norm1='0_bn', conv1='1_conv', norm2='1_bn', conv2='2_conv')
    layers = {}
    for name, module in model.named_modules():
        if not isinstance(module, (nn.Conv2d, nn.BatchNorm2d, nn.Linear)):
            continue
        if match := re.match(r'features\.denseblock(\d)\.denselayer(\d+)\.(\w+)', name):
            layer = f'conv{int(match[1]) + 1}_block{match[2]}_{parts[match[3]]}'
        elif match := re.match(r'features\.transition(\d)\.(\w+)', name):
            layer = f'pool{int(match[1]) + 1}_{match[2].replace("norm", "bn")}'
        else:
            layer = names.get(name, 'predictions')
        if isinstance(module, nn.BatchNorm2d):
            layers[layer] = {theirs: getattr(module, our).detach().numpy() for our, theirs in VARIABLES.items()}
        else:
            axes = (2, 3, 1, 0) if isinstance(module, nn.Conv2d) else (1, 0)
            layers[layer] = dict(kernel=module.weight.detach().numpy().transpose(axes))
            if module.bias is not None:
                layers[layer]['bias'] = module.bias.detach().numpy()
    return layers


def write_named(file, layers: dict, whole: bool, old: bool, inside: str = '') -> None:
    """HDF5 with names: weights alone, or a ``whole`` model; names as before Keras 3 (``old``), below another model."""
    with h5py.File(file, 'w') as root:
        if whole:
            root.attrs['model_config'] = '{}'
            optimizer = root.create_group('optimizer_weights')
            optimizer.attrs['weight_names'] = np.array([b'adam/momentum:0'])
            optimizer['adam/momentum:0'] = np.zeros(3, np.float32)
            root = root.create_group('model_weights')
        groups: dict[str, list[str]] = {}
        for layer, values in layers.items():
            path = re.sub(r'^conv1_', 'conv1/', layer) if old else layer
            outer = inside if inside and layer not in ('predictions', 'batch_normalization') else path
            group = root.require_group(outer)
            for variable, array in values.items():
                name = f'{path}/{variable}' + (':0' if old else '')
                group[name] = array
                groups.setdefault(outer, []).append(name)
        for outer, names in groups.items():
            root[outer].attrs['weight_names'] = np.array([name.encode() for name in names])
        if old:  # long lists are cut in parts
            both = [name.encode() for name in ['input_1', *groups]]
            root.require_group('input_1').attrs['weight_names'] = np.array([], 'S1')
            root.attrs['layer_names0'], root.attrs['layer_names1'] = np.array(both[:9]), np.array(both[9:])


def write_numbered(file, layers: dict, named: bool = True) -> None:
    """Keras 3's own form: groups by class, variables by number; with the layers' names, or as its first versions."""
    counts: dict[str, int] = {}
    config = []
    stream = io.BytesIO()
    with h5py.File(stream, 'w') as root:
        root.create_group('vars')
        for layer, values in layers.items():
            kind = CLASSES_OF_LAYERS[layer.rpartition('_')[2]]
            snake = {'Conv2D': 'conv2d', 'BatchNormalization': 'batch_normalization', 'Dense': 'dense'}[kind]
            number = counts[snake] = counts.get(snake, -1) + 1
            group = root.create_group(f'layers/{snake}{f"_{number}" if number else ""}/vars')
            if named:
                group.attrs['name'] = layer
            config.append(dict(class_name=kind, config=dict(name=layer)))
            for index, array in enumerate(values.values()):
                group[str(index)] = array
    if not str(file).endswith('.keras'):
        file.write_bytes(stream.getvalue())
        return
    with zipfile.ZipFile(file, 'w') as archive:
        archive.writestr('config.json', json.dumps(dict(class_name='Functional', config=dict(layers=config))))
        archive.writestr('model.weights.h5', stream.getvalue())


def network_and_images(seed: int = 0) -> tuple[nn.Module, torch.Tensor]:
    images = torch.randn(2, 3, 65, 47, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return keras_network(), images
