"""The names that libraries give to a DenseNet's tensors, and their translation into ours and back.

Ours are mmpretrain's: ``backbone.stem.0.weight``, ``backbone.stages.0.block.0.norm1.weight``,
``backbone.transitions.0.conv.weight``, ``head.fc.weight``. Several libraries share torchvision's names, so a file of
that layout may be from any of them.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from .keras import names_in_keras
from .rdnet_weights import is_rdnet, translate_rdnet


@dataclass(frozen=True)
class Layout:
    """Names of tensors: who writes them, and the two keys by which they are recognised."""

    name: str
    writers: str
    #: the first convolution's key, after any prefix
    anchor: str
    #: a pattern that some key must match
    mark: str
    #: whether the names are ours
    ours: bool = False
    #: of batch normalisation
    norm_eps: float = 1e-5


#: more specific ones first
LAYOUTS = [
    Layout('Keras', 'keras.applications', 'conv1_conv.weight', r'conv2_block1_1_conv\.', norm_eps=1.001e-5),
    Layout('mmpretrain', 'mmdensenet, mmpretrain 1.x and mmcls 0.x', 'stem.0.weight', r'stages\.0\.block\.0\.', True),
    Layout('mmdensenet', 'mmdensenet, an RDNet', 'stem.0.weight', r'stages\.0\.blocks\.0\.', True),
    Layout('timm', 'timm, an RDNet', 'stem.0.weight', r'dense_stages\.0\.0\.dense_block0\.'),
    Layout("RDNet's authors", 'naver-ai/rdnet', 'stem.stem.0.weight', r'dense_stages\.0\.0\.dense_block0\.'),
    Layout('MONAI', 'MONAI', 'features.conv0.weight', r'features\.denseblock1\.denselayer1\.layers\.'),
    Layout(
        'efficient_densenet_pytorch',
        'efficient_densenet_pytorch',
        'features.conv0.weight',
        r'features\.norm_final\.',
    ),
    Layout(
        'torchvision, legacy keys',
        "torchvision's older weights and what was made from them, such as CheXNet's",
        'features.conv0.weight',
        r'features\.denseblock1\.denselayer1\.(norm|conv)\.\d\.',
    ),
    Layout(
        'torchvision',
        'torchvision, timm and torchxrayvision',
        'features.conv0.weight',
        r'features\.denseblock1\.denselayer1\.(norm|conv)\d\.',
    ),
]

#: (pattern, ours) for everything but mmpretrain's layout; block and layer numbers are one less in ours
_RULES = [
    (r'features\.conv0\.(.+)', 'backbone.stem.0.{0}'),
    (r'features\.norm0\.(.+)', 'backbone.stem.1.{0}'),
    # timm's stem of three convolutions
    (r'features\.conv1\.(.+)', 'backbone.stem.3.{0}'),
    (r'features\.norm1\.(.+)', 'backbone.stem.4.{0}'),
    (r'features\.conv2\.(.+)', 'backbone.stem.6.{0}'),
    (r'features\.norm2\.(.+)', 'backbone.stem.7.{0}'),
    (
        r'features\.denseblock(\d+)\.denselayer(\d+)\.(?:layers\.)?(norm|conv)\.?([12])\.(.+)',
        'backbone.stages.{0}.block.{1}.{2}{3}.{4}',
    ),
    # efficient_densenet_pytorch's efficient model until April 2018: norm, ReLU and convolution in one module
    (r'features\.denseblock(\d+)\.denselayer(\d+)\.bn\.(norm|conv)_(.+)', 'backbone.stages.{0}.block.{1}.{2}1.{3}'),
    (r'features\.transition(\d+)\.(norm|conv)\.(.+)', 'backbone.transitions.{0}.{1}.{2}'),
    (r'features\.(?:norm5|norm_final)\.(.+)', 'backbone.transitions.{last}.0.{0}'),
    (r'(?:classifier|class_layers\.out)\.(weight|bias)', 'head.fc.{0}'),
    # a Sequential with one linear layer, as in CheXNet's (Linear, Sigmoid)
    (r'classifier\.\d+\.(weight|bias)', 'head.fc.{0}'),
]


@dataclass
class Found:
    """A layout that was found in a state dict, and its tensors under our names."""

    layout: Layout
    prefix: str
    #: our key to the file's
    names: dict[str, str]
    #: the file's tensors that have no place in a DenseNet: under the prefix, and elsewhere
    left: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)


def prefixes(keys: Iterable[str]) -> dict[str, Layout]:
    """The prefixes of the DenseNets in a state dict, with their layouts."""
    keys = list(keys)
    found = {}
    for layout in LAYOUTS:
        for key in keys:
            prefix = key.removesuffix(layout.anchor)
            if key.endswith(layout.anchor) and (not prefix or prefix.endswith('.')) and prefix not in found:
                mark = re.compile(re.escape(prefix) + layout.mark)
                if any(mark.match(other) for other in keys):
                    found[prefix] = layout
    return found


def recognise(tensors: Mapping[str, Tensor], prefix: str, layout: Layout) -> Found:
    """Our name for each tensor below ``prefix``."""
    if layout.ours:
        return _recognise_ours(tensors, prefix, layout)
    if layout.name == 'Keras':
        return Found(layout, prefix, *names_in_keras(tensors, prefix))
    inside = [key for key in tensors if key.startswith(prefix)]
    blocks = [int(n) for key in inside for n in re.findall(r'features\.denseblock(\d+)\.', key)]
    found = Found(layout, prefix, {}, elsewhere=[key for key in tensors if not key.startswith(prefix)])
    for key in inside:
        name = key.removeprefix(prefix)
        ours = _translate(name, max(blocks) - 1) if blocks else translate_rdnet(name)
        if ours is None or ours in found.names:  # a second linear layer is no part of a DenseNet
            found.left.append(key)
        else:
            found.names[ours] = key
    heads = [key for ours, key in found.names.items() if ours.startswith('head.')]
    heads += [key for key in found.left if re.match(re.escape(prefix) + r'(classifier|class_layers)\.', key)]
    if len({key.rpartition('.')[0] for key in heads}) > 1:  # several layers: none of them alone is the head
        found.names = {ours: key for ours, key in found.names.items() if not ours.startswith('head.')}
        found.left = [key for key in inside if key not in found.names.values()]
    return found


def _recognise_ours(tensors: Mapping[str, Tensor], prefix: str, layout: Layout) -> Found:
    outer = prefix.removesuffix('backbone.')
    found = Found(layout, prefix, {})
    for key in tensors:
        if key.startswith(prefix) and re.match(r'(stem|stages|transitions)\.', key.removeprefix(prefix)):
            found.names['backbone.' + key.removeprefix(prefix)] = key
        elif prefix.endswith('backbone.') and re.fullmatch(
            re.escape(outer) + r'(head\.fc|neck\.norm)\.(weight|bias)', key
        ):
            found.names[key.removeprefix(outer)] = key
        elif key.startswith((prefix, f'{outer}head.')):
            found.left.append(key)
        else:
            found.elsewhere.append(key)
    return found


def _translate(key: str, last: int) -> str | None:
    for pattern, ours in _RULES:
        match = re.fullmatch(pattern, key)
        if match:
            numbers = 2 if 'denselayer' in pattern else 1 if 'transition' in pattern else 0
            groups = [str(int(g) - 1) if i < numbers else g for i, g in enumerate(match.groups())]
            return ours.format(*groups, last=last)
    return None


def to_torchvision(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a classifier's state dict in our layout under torchvision's names.

    Args:
        state_dict: with the names of mmpretrain's ImageClassifier, such as ``backbone.stem.0.weight``.

    Raises:
        ValueError: for layers without a bottleneck and for an RDNet, which torchvision does not have, and for unknown
            keys.
    """
    if is_rdnet(state_dict):
        raise ValueError('torchvision has no RDNet')
    blocks = 1 + max((int(n) for key in state_dict for n in re.findall(r'stages\.(\d+)\.', key)), default=0)
    rules = [
        (r'backbone\.stem\.0\.(.+)', 'features.conv0.{0}'),
        (r'backbone\.stem\.1\.(.+)', 'features.norm0.{0}'),
        (r'backbone\.stages\.(\d+)\.block\.(\d+)\.(.+)', 'features.denseblock{0}.denselayer{1}.{2}'),
        (rf'backbone\.transitions\.{blocks - 1}\.0\.(.+)', 'features.norm5.{0}'),
        (r'backbone\.transitions\.(\d+)\.((?:norm|conv)\..+)', 'features.transition{0}.{1}'),
        (r'head\.fc\.(.+)', 'classifier.{0}'),
    ]
    if 'backbone.stages.0.block.0.conv2.weight' not in state_dict:
        raise ValueError('torchvision has no DenseNet without bottlenecks')
    if 'backbone.stem.3.weight' in state_dict:
        raise ValueError('torchvision has no DenseNet with a deep stem')
    renamed = {}
    for key, value in state_dict.items():
        for pattern, theirs in rules:
            match = re.fullmatch(pattern, key)
            if match:
                groups = [str(int(g) + 1) if g.isdigit() else g for g in match.groups()]
                renamed[theirs.format(*groups)] = value
                break
        else:
            raise ValueError(f'{key} is no tensor of a DenseNet classifier')
    return renamed
