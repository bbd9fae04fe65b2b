"""Which network fits the images, the weights and the machine."""

from dataclasses import dataclass

from mmdensenet.convert.convert import convert_state_dict
from mmdensenet.convert.files import read_checkpoint
from mmdensenet.errors import UserError

#: short side up to which the stem does not divide the image's size, and from which on it is DenseNet-121
SMALL, LARGE = 40, 128
#: of the model zoo
IMAGENET = 'https://download.openmmlab.com/mmclassification/v0/densenet/densenet121_4xb256_in1k_20220426-07450f99.pth'


@dataclass
class Network:
    """What the config says of the network.

    Attributes:
        name: for people.
        backbone: arguments of DenseNet, without ``in_channels``.
        features: channels that the head gets.
        side: height and width of the images that it gets.
        load_from: file or URL of weights, or None.
        why: lines of comment.
    """

    name: str
    backbone: dict
    features: int
    side: int
    load_from: str | None
    why: list[str]

    @property
    def pretrained(self) -> bool:
        return self.load_from is not None


#: depths of networks for small images: name, features
SMALL_NETWORKS = {
    (6, 6, 6): ('DenseNet-BC (L=40, k=12)', 132),
    (3, 3, 3): ('DenseNet-BC (L=22, k=12)', 69),
}


def choose_network(short_side: int, weights: str | None) -> Network:
    """The network for images whose short side has so many pixels, at the median.

    Args:
        weights: None for ImageNet's where there are any for such images, 'none', or a file or URL, whose network it is.

    Raises:
        UserError: for weights that cannot be had, and for those of another kind of network.
    """
    if weights not in (None, 'none', 'imagenet'):
        return _network_of(weights, short_side)
    if short_side >= LARGE:
        side = min(224, short_side // 32 * 32)
        load_from = None if weights == 'none' else require_weights(IMAGENET)
        why = [f'DenseNet-121: the images have a short side of {short_side} pixels']
        why.append('Trained anew, as was said' if load_from is None else 'From ImageNet weights')
        return Network('DenseNet-121', dict(arch='121'), 1024, side, load_from, why)
    if weights == 'imagenet':
        raise UserError(
            f'weights=imagenet: images of {short_side} pixels get a small network, for which there are none. Leave '
            'the argument out, or give a file.'
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
    backbone = dict(arch=dict(growth_rate=12, depths=depths, init_channels=24), stem=stem)
    return Network(name, backbone, features, side, None, [])


def _network_of(weights: str, short_side: int) -> Network:
    tensors = read_checkpoint(weights)
    try:
        found = convert_state_dict(tensors, partial=True)[1].architecture
    except UserError as error:
        raise UserError(f'weights={weights}: {error}') from error
    if not hasattr(found, 'backbone') or not hasattr(found, 'stem'):
        raise UserError(f'weights={weights} are of {found.name}: fit trains DenseNets. Take `mmdensenet train`.')
    backbone = {key: value for key, value in found.backbone().items() if key != 'in_channels'}
    backbone = {key: value for key, value in backbone.items() if value != _DEFAULTS.get(key, object())}
    side = min(short_side, 64) if found.stem == 'cifar' else max(32, min(224, short_side // 32 * 32))
    why = [f'{found.name}: the network of the weights', f'Images of {side} pixels, as the network and they allow']
    return Network(found.name, backbone, found.features, side, weights, why)


_DEFAULTS = dict(bn_size=4, bottleneck=True, compression_factor=0.5, stem='imagenet', stem_blur=False)


def require_weights(url: str) -> str:
    """Have the file of a URL, downloaded once.

    Raises:
        UserError: in one line, if it cannot be had.
    """
    try:
        read_checkpoint(url)
    except Exception as error:  # of the network, in many kinds
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f'the ImageNet weights cannot be had ({reason[:160]}): give weights=FILE, or start anew, weights=none.'
        ) from error
    return url


def smaller(network: Network, epochs: int, minutes: float) -> Network | None:
    """The same kind of network with fewer layers, where time is short; None where there is none.

    Args:
        epochs: that the network makes in so many ``minutes``.
    """
    arch = network.backbone.get('arch')
    if network.pretrained or not isinstance(arch, dict) or tuple(arch['depths']) != (6, 6, 6):
        return None
    found = _small_network((3, 3, 3), network.backbone['stem'], network.side)
    many = f'{epochs} epoch{"s" if epochs > 1 else ""}'
    found.why = [f'{found.name}: one of more layers makes {many} in {minutes:g} minutes', *network.why[1:]]
    return found
