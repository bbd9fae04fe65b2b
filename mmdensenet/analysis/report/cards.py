"""The report's cards of model and data: names and values."""

import platform
import re
import time
from datetime import datetime
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.model import BaseModel

from mmdensenet.checkpoints.checkpoint_file import sha256
from mmdensenet.datasets.wrappers import leaf_configs
from mmdensenet.results.scores import Scores
from mmdensenet.version import __version__

from .paths import short_path

Card = list[tuple[str, str]]


def model_card(cfg: Config, model: BaseModel, checkpoint: str, meta: dict) -> Card:
    """The architecture, preprocessing, training and source of the weights.

    Args:
        meta: the checkpoint's ``meta``, or {}.
    """
    backbone = model.backbone
    rows = [('model', f'{type(model).__name__} with {type(backbone).__name__} and {type(model.head).__name__}')]
    if hasattr(backbone, 'growth_rate') and hasattr(backbone, 'depths'):
        layers = ', '.join(map(str, backbone.depths))
        rows.append(('architecture', f'growth rate {backbone.growth_rate}, blocks of {layers} layers'))
    rows += [
        ('classes', f'{getattr(model.head, "num_classes", "unknown"):,}'),
        ('parameters', f'{sum(p.numel() for p in model.parameters()):,}'),
        ('normalisation', _normalisation(cfg)),
        ('checkpoint', _file(checkpoint)),
        ('trained for', _trained(meta)),
        ('training data', _source(cfg.get('train_dataloader'))),
        ('training batch', str((cfg.get('train_dataloader') or {}).get('batch_size', 'unknown'))),
        ('optimiser', _settings((cfg.get('optim_wrapper') or {}).get('optimizer'))),
        ('loss', _settings(cfg.model.get('head', {}).get('loss'))),
        ('seed', str(meta.get('seed', (cfg.get('randomness') or {}).get('seed', 'unknown')))),
        ('written by', _writer(meta)),
        ('report by', f'mmdensenet {__version__}, torch {torch.__version__}, Python {platform.python_version()}'),
        ('report of', time.strftime('%Y-%m-%d %H:%M')),
    ]
    return [(name, value) for name, value in rows if value and value != 'unknown']


def data_card(cfg: Config, scores: Scores, images: int) -> Card:
    """The test set: its path, number of images and preprocessing."""
    loader = cfg.test_dataloader
    rows = [('test set', _source(loader)), ('images', f'{images:,}')]
    if len(scores) != images:
        rows.append(('images in this report', f'{len(scores):,}; the others have no known class'))
    if scores.multi_label:
        known = (scores.truth >= 0).sum()
        rows.append(('known labels', f'{known:,} of {scores.truth.size:,} ({known / scores.truth.size:.1%})'))
        of_each = 'each label has its own, see Decisions'
        one = f'a label is predicted from a score of {scores.threshold:g} on'
        rows.append(('threshold', one if scores.positive is None else of_each))
    else:
        there = len(set(scores.truth.tolist()))
        rows.append(('classes with images', f'{there:,} of {len(scores.classes):,}'))
    if scores.groups is not None:
        rows.append(('groups', f'{len(set(scores.groups.tolist())):,}, such as patients'))
    rows.append(('preparation', ', or '.join(_preparations(loader))))
    return [row for row in rows if row[1]]


def _normalisation(cfg: Config) -> str:
    settings = cfg.get('data_preprocessor') or cfg.model.get('data_preprocessor') or {}
    if not settings.get('mean'):
        return ''
    mean, std = (', '.join(f'{value:g}' for value in settings[key]) for key in ('mean', 'std'))
    return f'minus {mean}, divided by {std}, of values up to 255' + (', as RGB' if len(settings['mean']) == 3 else '')


def _file(checkpoint: str) -> str:
    path = Path(checkpoint).expanduser()
    if '://' in checkpoint or not path.is_file():
        return short_path(checkpoint)
    return f'{path.name}, {path.stat().st_size / 2**20:,.1f} MiB, SHA-256 {sha256(path)}'


def _trained(meta: dict) -> str:
    parts = [f'{meta[key]:,} {word}' for key, word in (('epoch', 'epochs'), ('iter', 'iterations')) if meta.get(key)]
    when = f', until {_time(meta["time"])}' if meta.get('time') else ''
    return ', '.join(parts) + when if parts else ''


def _time(text: str) -> str:
    """mmengine's 20260131_235900 as 2026-01-31 23:59."""
    try:
        return f'{datetime.strptime(text, "%Y%m%d_%H%M%S"):%Y-%m-%d %H:%M}'
    except (TypeError, ValueError):
        return str(text)


def _writer(meta: dict) -> str:
    # mmengine appends a commit or 'unknown' without a separator
    version = re.sub(r'([0-9a-f]{40}|unknown)$', '', str(meta.get('mmengine_version', '')))
    return f'mmengine {version}' if version else ''


def _source(loader: dict | None) -> str:
    found = []
    for _, dataset in leaf_configs((loader or {}).get('dataset')):
        keys = ('data_root', 'data_prefix', 'ann_file', 'split')
        places = [f'{key} {dataset[key]}' for key in keys if dataset.get(key)]
        found.append(', '.join([str(dataset.get('type')), *places]))
    return '; '.join(dict.fromkeys(found))


def _preparations(loader: dict) -> list[str]:
    """The steps of each pipeline of the data sets."""
    pipelines = [leaf.get('pipeline') or () for _, leaf in leaf_configs(loader.get('dataset'))]
    return list(dict.fromkeys('; '.join(filter(None, map(_settings, steps))) for steps in pipelines))


def _settings(entry: dict | None) -> str:
    """'SGD (lr 0.1, momentum 0.9)'."""
    if not entry:
        return ''
    rest = ', '.join(f'{key} {value}' for key, value in entry.items() if key not in ('type', '_scope_'))
    return str(entry.get('type')) + (f' ({rest})' if rest else '')
