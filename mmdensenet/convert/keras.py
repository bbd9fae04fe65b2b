"""Names of keras.applications' DenseNets, of tensors as :mod:`mmdensenet.checkpoints.keras_file` reads them."""

import re
from collections.abc import Mapping

from torch import Tensor

_RULES = [
    (r'conv1_conv\.', 'backbone.stem.0.'),
    (r'conv1_bn\.', 'backbone.stem.1.'),
    (r'conv(\d+)_block(\d+)_0_bn\.', 'backbone.stages.{0}.block.{1}.norm1.'),
    (r'conv(\d+)_block(\d+)_1_conv\.', 'backbone.stages.{0}.block.{1}.conv1.'),
    (r'conv(\d+)_block(\d+)_1_bn\.', 'backbone.stages.{0}.block.{1}.norm2.'),
    (r'conv(\d+)_block(\d+)_2_conv\.', 'backbone.stages.{0}.block.{1}.conv2.'),
    (r'pool(\d+)_bn\.', 'backbone.transitions.{0}.norm.'),
    (r'pool(\d+)_conv\.', 'backbone.transitions.{0}.conv.'),
    (r'bn\.', 'backbone.transitions.{last}.0.'),
]


def names_in_keras(tensors: Mapping[str, Tensor], prefix: str) -> tuple[dict[str, str], list[str], list[str]]:
    """Our key to the file's, the tensors below ``prefix`` without a place in a DenseNet, and those from elsewhere.

    The head is the one linear layer of the file, whatever its name: ``predictions`` or, of an own model around the
    network, ``dense`` beside it. Of several layers none alone is the head. Beside a head nothing is from elsewhere:
    Keras writes one network, and a norm in front of the head is part of it.
    """
    stages = [int(n) for key in tensors for n in re.findall(rf'^{re.escape(prefix)}conv(\d+)_block', key)]
    names, left, elsewhere = {}, [], []
    linear = [key for key, value in tensors.items() if value.dim() == 2 and key.endswith('.weight')]
    if len(linear) == 1:
        names = {f'head.fc.{end}': linear[0].removesuffix('weight') + end for end in ('weight', 'bias')}
        names = {ours: key for ours, key in names.items() if key in tensors}
    for key in tensors:
        ours = _translate(key.removeprefix(prefix), max(stages) - 2) if key.startswith(prefix) else None
        if key in names.values():
            continue
        if ours is not None and ours not in names:
            names[ours] = key
        else:
            (left if linear or key.startswith(prefix) else elsewhere).append(key)
    return names, left, elsewhere


def _translate(key: str, last: int) -> str | None:
    for pattern, ours in _RULES:
        match = re.match(pattern, key)
        if match:  # stages count from conv2, layers from 1
            first, second = (int(n) - by for n, by in zip([*match.groups(), 1, 1], (2, 1)))
            return ours.format(first, second, last=last) + key[match.end() :]
    return None
