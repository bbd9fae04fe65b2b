"""Converts a state dict of any known library to ours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil

import torch
from torch import Tensor

from mmdensenet.checkpoints.checkpoint_content import not_finite
from mmdensenet.errors import UserError

from .architecture import Architecture, infer
from .layouts import Found, Layout, prefixes, recognise
from .rdnet_weights import RDNetArchitecture

#: containers of the weights in a checkpoint, in order of preference: averaged weights, to which the authors' figures
#: belong, before raw ones
EMA_CONTAINERS = ('state_dict_ema', 'model_ema')
CONTAINERS = (*EMA_CONTAINERS, 'state_dict', 'model_state_dict', 'model', 'net', 'network', 'weights')
#: tensors on which no logit depends
_HARMLESS = ('op_threshs', 'CatBN_output_buffer', 'features.pool0.1.filt')


@dataclass
class Report:
    """What a conversion found and did; printed, as ``mmdensenet convert`` shows it.

    Attributes:
        layout: the layout that was recognised.
        prefix: what stands before the names of the model's tensors in the file.
        architecture: the network; ``architecture.backbone()`` gives its arguments.
        library: the library that wrote the file, if the file shows it.
        source, sha256: the file, and its hash.
        used, left: the file's tensors of the model that were used, and those that were not.
        elsewhere: the file's tensors that are no part of the model.
        missing: our names that the file does not have, or has in another shape.
        notes: sentences for people.
        verified: the result of ``verify``: the largest difference of the logits, and from which library.
    """

    layout: Layout
    prefix: str
    architecture: Architecture | RDNetArchitecture
    library: str | None
    source: str = 'the state dict'
    sha256: str | None = None
    used: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    verified: str | None = None

    def lines(self) -> list[tuple[str, str]]:
        prefix = f', below {self.prefix!r}' if self.prefix not in ('', 'backbone.') else ''
        rows = [
            ('source', self.source),
            ('sha256', self.sha256),
            ('layout', f'{self.layout.name} (written by {self.layout.writers}){prefix}'),
            ('library', self.library or 'not known from the file'),
            ('architecture', str(self.architecture)),
            ('tensors', f'{len(self.used)} used, {len(self.left)} left, {len(self.missing)} missing'),
            ('left', _first(self.left)),
            ('missing', _first(self.missing)),
            ('elsewhere', _first(self.elsewhere) and f'{_first(self.elsewhere)}: no part of the model'),
            *(('note', note) for note in self.notes),
            ('verified', self.verified),
        ]
        return [(key, value) for key, value in rows if value]

    def __str__(self) -> str:
        return '\n'.join(f'{key + ":":14}{value}' for key, value in self.lines())

    def summary(self) -> str:
        """One line for a log."""
        notes = ''.join(f'; {note}' for note in self.notes)
        return (
            f'{self.source}: {self.architecture.name} in the layout of {self.layout.name}, converted '
            f'({len(self.used)} tensors used, {len(self.left)} left, {len(self.missing)} missing){notes}'
        )


def convert_state_dict(
    state_dict: Mapping,
    *,
    in_channels: int | None = None,
    num_classes: int | None = None,
    partial: bool = False,
    prefix: str | None = None,
) -> tuple[dict[str, Tensor], Report]:
    """Recognise a DenseNet's or RDNet's weights by keys and shapes, and give them our names.

    It knows the layouts of torchvision (new and legacy keys), timm, mmpretrain and mmcls, MONAI, torchxrayvision,
    efficient_densenet_pytorch, Keras and RDNet's authors, below any prefix (``module.``, ``model.``, ``densenet121.``)
    and inside a checkpoint's ``state_dict`` or ``model``. It prefers averaged weights (EMA) to raw ones; the report's
    notes say so.

    Args:
        state_dict: tensors by name, or a checkpoint that has them under one of ``CONTAINERS``.
        in_channels: adapt the first convolution to images of this many channels: sum its channels for one, repeat and
            rescale them for more.
        num_classes: if the weights have another number of classes, omit the head, which is then initialised anew.
        partial: accept weights with tensors missing or left over.
        prefix: which model to convert, if there are several.

    Returns:
        The state dict of an mmpretrain classifier with our backbone (``backbone.*``, RDNet's ``neck.norm.*``,
        ``head.fc.*``), and the report.

    Raises:
        UserError: if the keys are those of neither, if there are several models, or if the match is incomplete or the
            weights are integers and ``partial`` is false.
    """
    checkpoint = state_dict
    tensors = unwrap(checkpoint)
    found = _find(tensors, prefix)
    converted = {ours: tensors[theirs] for ours, theirs in found.names.items()}
    architecture = infer(converted)
    if found.layout.norm_eps != 1e-5:
        architecture.norm_eps = found.layout.norm_eps
    report = Report(found.layout, found.prefix, architecture, _library(checkpoint, tensors, found.layout))
    report.notes += notes_on_ema(checkpoint)
    if found.layout.name == 'Keras':
        report.notes.append(
            f"batch norm keeps Keras' epsilon: norm_cfg=dict(type='BN', eps={architecture.norm_eps}); images are "
            "prepared as ImageNet's, RGB"
        )
    report.elsewhere = found.elsewhere
    report.left = [key for key in found.left if not key.endswith(_HARMLESS)]
    report.elsewhere += [key for key in found.left if key.endswith(_HARMLESS)]

    wanted = architecture.shapes()
    for key in [key for key in converted if converted[key].shape != wanted.get(key)]:
        del converted[key]
        report.left.append(found.names[key])
    if getattr(architecture, 'stem', '') == 'deep':
        blur = 'is taken to be there, as in' if architecture.stem_blur else 'is taken not to be there, unlike in'
        report.notes.append(
            f"no tensor shows whether BlurPool follows the stem's pooling: it {blur} timm's densenetblur121d"
        )
    if architecture.num_classes is None:
        report.notes.append('there is no head: it starts anew')
    if problem := not_finite(converted):
        report.notes.append(problem)
    if not partial:
        require_floating({found.names[key]: value for key, value in converted.items()})
    counters = [key for key in wanted if key.endswith('.num_batches_tracked') and key not in converted]
    report.missing = [key for key in wanted if key not in converted and key not in counters]
    report.used = [found.names[key] for key in converted]
    for key in counters:  # weights of torch before 0.4.1 lack them; no result depends on them
        converted[key] = torch.tensor(0)
    if (report.missing or report.left) and not partial:
        raise UserError(
            f'{len(report.used)} of {len(wanted) - len(counters)} tensors fit {architecture.name}; missing: '
            f'{_first(report.missing) or "none"}; left: {_first(report.left) or "none"}.\n'
            'Use partial=True to convert what fits.'
        )
    if in_channels is not None and in_channels != architecture.in_channels:
        key = 'backbone.stem.0.weight'
        converted[key] = adapt_channels(converted[key], in_channels)
        report.notes.append(
            f'the first convolution was adapted from {architecture.in_channels} to {in_channels} channels'
        )
    if num_classes not in (None, architecture.num_classes) and architecture.num_classes is not None:
        converted = {key: value for key, value in converted.items() if not key.startswith('head.')}
        report.notes.append(
            f'the head is for {architecture.num_classes} classes, not {num_classes}: it was left out and starts anew'
        )
    return converted, report


def unwrap(checkpoint: Mapping) -> dict[str, Tensor]:
    """The tensors of a checkpoint, without the containers around them.

    Of unknown names, a container is what alone has tensors.
    """
    for _ in range(3):  # containers may be nested
        name = _container(checkpoint) or _only_one(checkpoint)
        if name is None:
            break
        checkpoint = checkpoint[name]
    return _tensors(checkpoint)


def _tensors(mapping: Mapping) -> dict[str, Tensor]:
    return {key: value for key, value in mapping.items() if isinstance(value, Tensor) and isinstance(key, str)}


def _only_one(checkpoint: Mapping) -> str | None:
    having = [key for key, value in checkpoint.items() if isinstance(value, Mapping) and _tensors(value)]
    return having[0] if len(having) == 1 and not _tensors(checkpoint) else None


def require_floating(tensors: Mapping[str, Tensor]) -> None:
    """Refuse integers for weights: only the library of a quantised model knows their scales. Counters are integers.

    Raises:
        UserError: naming the first.
    """
    for key, value in tensors.items():
        if not (value.is_floating_point() or key.endswith('num_batches_tracked')):
            kind = str(value.dtype).removeprefix('torch.')
            raise UserError(f'{key} is of {kind}, as in a quantised model: give the weights in floating point.')


def notes_on_ema(checkpoint: Mapping) -> list[str]:
    """One line if :func:`unwrap` takes averaged weights beside which there are raw ones; else none."""
    name = _container(checkpoint)
    raw = next((key for key in CONTAINERS if key not in EMA_CONTAINERS and _container(checkpoint, (key,))), None)
    if name not in EMA_CONTAINERS:
        return []
    return [f'the averaged weights (EMA, {name}) were taken' + (f', not the raw ones ({raw})' if raw else '')]


def _container(checkpoint: Mapping, names: Sequence[str] = CONTAINERS) -> str | None:
    return next((key for key in names if isinstance(checkpoint.get(key), Mapping) and checkpoint[key]), None)


def adapt_channels(weight: Tensor, in_channels: int) -> Tensor:
    """The first convolution (O, I, h, w) for ``in_channels``: summed for 1, else repeated, times I / in_channels.

    A grey image in all channels then gives what it gave before, where ``in_channels`` is 1 or a multiple of I.
    """
    given = weight.shape[1]
    weight = weight.float() if weight.element_size() < 4 else weight  # narrower numbers would be rounded again
    if in_channels == 1:
        return weight.sum(1, keepdim=True)
    repeated = weight.repeat(1, ceil(in_channels / given), 1, 1)[:, :in_channels]
    return repeated * (given / in_channels)


def _find(tensors: dict[str, Tensor], prefix: str | None) -> Found:
    found = prefixes(tensors)
    if prefix is not None:
        found = {name: layout for name, layout in found.items() if name == prefix}
    if not found:
        keys = ', '.join(list(tensors)[:3]) or 'no tensors at all'
        raise UserError(
            f'these are no DenseNet weights in a known layout (first keys: {keys}). Known are those of torchvision, '
            'timm, mmpretrain, MONAI, torchxrayvision, efficient_densenet_pytorch and Keras, of RDNet timm and its '
            'authors.'
        )
    if len(found) > 1:
        raise UserError(f'there are several DenseNets in it: choose one by `prefix`, of {", ".join(map(repr, found))}.')
    return recognise(tensors, *next(iter(found.items())))


def _library(checkpoint: Mapping, tensors: dict[str, Tensor], layout: Layout) -> str | None:
    """The library that wrote the file, if its contents show it."""
    meta = checkpoint.get('meta')
    meta = meta if isinstance(meta, Mapping) else {}
    if 'mmdensenet_version' in meta:
        return 'mmdensenet'
    for name in ('mmpretrain', 'mmcls'):
        if f'{name}_version' in meta:
            return name
    if any(key.endswith('op_threshs') for key in tensors):
        return 'torchxrayvision'
    if layout.name in ('MONAI', 'efficient_densenet_pytorch', 'Keras'):  # no other library has these keys
        return layout.name
    if 'pytorch-lightning_version' in checkpoint:
        return 'saved by Lightning; the library of the model is not known'
    return None


def _first(keys: list[str]) -> str:
    more = f' and {len(keys) - 4} more' if len(keys) > 4 else ''
    return ', '.join(keys[:4]) + more
