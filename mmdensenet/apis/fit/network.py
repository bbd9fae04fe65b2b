"""Which network fits the images, the weights and the machine."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mmdensenet.apis.models import named_config, published_weights
from mmdensenet.convert.convert import convert_state_dict
from mmdensenet.convert.files import read_checkpoint
from mmdensenet.errors import UserError, first_line

from .network_facts import NetworkFacts, facts_of, short_arguments

#: short side up to which the stem does not divide the image's size, and from which on it is DenseNet-121
SMALL, LARGE = 40, 128
#: what two transitions divide by
SMALLEST = 4
#: largest height and width that networks for small and for large images get
MOST_SMALL, MOST_LARGE = 64, 224
#: of the model zoo
IMAGENET = 'https://download.openmmlab.com/mmclassification/v0/densenet/densenet121_4xb256_in1k_20220426-07450f99.pth'
POOLING = dict(type='GlobalAveragePooling')


@dataclass
class Network:
    """What the config says of the network.

    Attributes:
        name: for people.
        backbone: its type and arguments, without ``in_channels``.
        neck: its type and arguments.
        features: channels that the head gets.
        side: height and width of the images that it gets.
        load_from: file or URL of weights, or None.
        why: lines of comment: on the network, the weights, and maybe more.
        is_asked: a network or weights were given.
        batch_norm: whether it has any; without, it is trained as RDNet is.
    """

    name: str
    backbone: dict
    neck: dict
    features: int
    side: int
    load_from: str | None
    why: list[str]
    is_asked: bool = False
    batch_norm: bool = True

    @property
    def pretrained(self) -> bool:
        return self.load_from is not None


#: depths of networks for small images: name, features
SMALL_NETWORKS = {
    (6, 6, 6): ('DenseNet-BC (L=40, k=12)', 132),
    (3, 3, 3): ('DenseNet-BC (L=22, k=12)', 69),
}


def choose_network(short_side: int, weights: str | None, network: str | None = None) -> Network:
    """The network for images whose short side has so many pixels, at the median.

    Args:
        weights: None for ImageNet's where there are any for such images, or for the network that is given; 'none'; or a
            file or URL, whose network it is.
        network: a name of :func:`mmdensenet.apis.models.get_model`, such as 'densenet169' and 'rdnet-tiny', or a config
            file, whose backbone and neck it is; by default the images and the weights decide.

    Raises:
        UserError: for an unknown network, weights that cannot be had or are of another network, and images that are too
            small for it.
    """
    given = None if weights in (None, 'none', 'imagenet') else weights
    if network is None and given is None:
        return _by_size(short_side, weights)
    if network is None:
        found = _of_weights(given)
        found = replace(found, backbone=short_arguments(found.backbone, found.facts))
        why = [f'{found.name}: the network of the weights']
    else:
        found = _of_config(network)
        why = [f'{found.name}: the network that was asked for']
        if given is not None:
            found = _with_weights(found, given)
    load_from, reason = given, f'From the weights {given}'
    if given is None:
        load_from, reason = _published(found.facts, weights, network)
    stride = found.facts.stride
    if short_side < stride:
        raise UserError(
            f'images of {short_side} pixels are too small for {found.name}, which divides their size by {stride}: '
            'enlarge them, or take a network for small images, such as network=densenet-bc-l40-k12.'
        )
    if found.backbone.get('stem') == 'cifar':
        side = min(short_side, MOST_SMALL)
    else:
        side = max(stride, min(MOST_LARGE, short_side) // stride * stride)
    why += [reason, f'Images of {side} pixels, as the network and they allow']
    return Network(
        found.name, found.backbone, found.neck, found.facts.features, side, load_from, why, True, found.facts.batch_norm
    )


def _by_size(short_side: int, weights: str | None) -> Network:
    if short_side >= LARGE:
        side = min(MOST_LARGE, short_side // 32 * 32)
        load_from = None if weights == 'none' else require_weights(IMAGENET)
        why = [f'DenseNet-121: the images have a short side of {short_side} pixels']
        why.append('Trained anew, as was said' if load_from is None else 'From ImageNet weights')
        return Network(
            'DenseNet-121', dict(type='mmdensenet.DenseNet', arch='121'), POOLING, 1024, side, load_from, why
        )
    if weights == 'imagenet':
        raise UserError(
            f'weights=imagenet: images of {short_side} pixels get a small network, for which there are none. Leave '
            'the argument out, or give a file, or a network that has them, such as network=densenet121.'
        )
    if short_side < SMALLEST:
        raise UserError(
            f'half of the images have a short side of at most {short_side} pixels, and the smallest network needs '
            f'{SMALLEST}: enlarge them.'
        )
    if short_side > SMALL:
        small = _small_network((6, 6, 6), 'imagenet', round(short_side / 8) * 8)
    else:
        small = _small_network((6, 6, 6) if short_side > 12 else (3, 3, 3), 'cifar', short_side)
    small.why = [
        f'{small.name}: the images have a short side of {short_side} pixels',
        'Trained anew: there are no ImageNet weights of networks for so small images',
    ]
    return small


def _small_network(depths: tuple[int, int, int], stem: str, side: int) -> Network:
    name, features = SMALL_NETWORKS[depths]
    name += ' behind a stem that divides the size by four' if stem == 'imagenet' else ''
    arch = dict(growth_rate=12, depths=depths, init_channels=24)
    return Network(name, dict(type='mmdensenet.DenseNet', arch=arch, stem=stem), POOLING, features, side, None, [])


@dataclass(frozen=True)
class _Found:
    """A network that was asked for: ``backbone`` is without ``in_channels``."""

    name: str
    backbone: dict
    neck: dict
    facts: NetworkFacts


def _of_config(network: str) -> _Found:
    cfg, _ = named_config(network, 'network')
    model = cfg.get('model') or {}
    if not model.get('backbone'):
        raise UserError(f'network={network}: the config has no model with a backbone.')
    backbone = model.backbone.to_dict()
    backbone.pop('in_channels', None)
    neck = model.neck.to_dict() if model.get('neck') else POOLING
    return _Found(network, backbone, neck, facts_of(backbone, neck, f'network={network}'))


def _of_weights(weights: str) -> _Found:
    tensors = read_checkpoint(weights)
    try:
        found = convert_state_dict(tensors, partial=True)[1].architecture
    except UserError as error:
        raise UserError(f'weights={weights}: {error}') from error
    backbone = dict(type=found.kind, **found.backbone())
    backbone.pop('in_channels')
    facts = facts_of(backbone, found.neck(), f'weights={weights}')
    return _Found(found.name, backbone, found.neck(), facts)


def _with_weights(asked: _Found, weights: str) -> _Found:
    """The network that was asked for, with the norms' epsilon of the weights.

    Raises:
        UserError: if the weights are of another network.
    """
    theirs = _of_weights(weights)
    if theirs.facts.shapes != asked.facts.shapes:
        raise UserError(
            f'weights={weights} are of {theirs.name}, and network={asked.name} is another: leave network out, or give '
            'weights of it.'
        )
    norm = theirs.backbone.get('norm_cfg')
    return asked if norm is None else replace(asked, backbone=dict(asked.backbone, norm_cfg=norm))


def _published(facts: NetworkFacts, weights: str | None, network: str) -> tuple[str | None, str]:
    """URL of the model zoo's weights of a network, or None, and why."""
    if weights == 'none':
        return None, 'Trained anew, as was said'
    url = next((url for shapes, url in _zoo_shapes() if shapes == facts.shapes), None)
    if url is not None:
        return require_weights(url), 'From ImageNet weights'
    if weights == 'imagenet':
        raise UserError(f'weights=imagenet: the model zoo has none of {network} to download. Give a file.')
    return None, 'Trained anew: the model zoo has no weights of it to download'


@functools.cache
def _zoo_shapes() -> Sequence[tuple[dict, str]]:
    found = []
    for name, url in published_weights().items():
        backbone = named_config(name)[0].model.backbone.to_dict()
        found.append((facts_of(backbone, POOLING, name).shapes, url))
    return found


def require_weights(url: str) -> str:
    """Have the file of a URL, downloaded once.

    Raises:
        UserError: in one line, if it cannot be had.
    """
    try:
        read_checkpoint(url)
    except Exception as error:  # of the network, in many kinds
        raise UserError(
            f'the ImageNet weights cannot be had ({first_line(error)}): give weights=FILE, or start anew, weights=none.'
        ) from error
    return url


def smaller(network: Network, epochs: int, minutes: float) -> Network | None:
    """The same kind of network with fewer layers, where time is short; None where there is none or it was asked for.

    Args:
        epochs: that the network makes in so many ``minutes``.
    """
    arch = network.backbone.get('arch')
    if network.is_asked or network.pretrained or not isinstance(arch, dict) or tuple(arch['depths']) != (6, 6, 6):
        return None
    found = _small_network((3, 3, 3), network.backbone['stem'], network.side)
    many = f'{epochs} epoch{"s" if epochs > 1 else ""}'
    found.why = [f'{found.name}: one of more layers makes {many} in {minutes:g} minutes', *network.why[1:]]
    return found
