"""Complete the data loaders of a config, and check the data that they name."""

from pathlib import Path

import torch
from mmcv.transforms import LoadImageFromFile
from mmengine.config import Config, ConfigDict
from mmpretrain.registry import TRANSFORMS

from mmdensenet.datasets.wrappers import leaf_configs
from mmdensenet.errors import UserError, option_text
from mmdensenet.similar import similar_path
from mmdensenet.training.launch import core_count

from .config import LOADERS, nested_dicts


def complete_dataloaders(cfg: Config, pin_memory: bool = True, persistent_workers: bool = True) -> None:
    """Fill in what the data loaders leave open, as mmpretrain's tools do, within what this machine has."""
    for key in LOADERS:
        if cfg.get(key) is None:
            continue
        loader = ConfigDict(cfg[key])  # val and test may be the same object
        # more workers than cores only makes torch warn and everything slower
        loader.num_workers = min(loader.get('num_workers', 0), core_count())
        loader.setdefault('collate_fn', dict(type='default_collate'))
        loader.setdefault('pin_memory', torch.cuda.is_available())
        loader.setdefault('persistent_workers', True)
        loader.pin_memory &= pin_memory
        loader.persistent_workers &= persistent_workers and loader.num_workers > 0
        cfg[key] = loader


def name_bad_images(cfg: Config) -> None:
    """Put ``mmdensenet.LoadImage`` in the place of LoadImageFromFile in the pipelines of the data sets."""
    for key in (*LOADERS, 'tta_pipeline'):
        for step in nested_dicts(cfg.get(key)):
            if _is_plain_loader(step.get('type')):
                step['type'] = 'mmdensenet.LoadImage'
    for key in ('val_dataloader', 'test_dataloader', 'tta_pipeline'):
        refuse_reduced(cfg.get(key), key)


def refuse_reduced(entry, name: str) -> None:
    """A model is judged on images as they are."""
    items = entry.items() if isinstance(entry, dict) else enumerate(entry) if isinstance(entry, (list, tuple)) else ()
    for key, value in items:
        if key == 'reduce_to' and value is not None:
            raise UserError(f'{name}: reduce_to={value} changes pixels, and so the figures: it is for training only.')
        refuse_reduced(value, f'{name}.{key}')


def _is_plain_loader(kind) -> bool:
    """Whether a step's type, a class or any of its names, is mmcv's LoadImageFromFile itself."""
    if isinstance(kind, str):
        if kind.rpartition('.')[2] != LoadImageFromFile.__name__:
            return False
        kind = TRANSFORMS.get(kind)
    return kind is LoadImageFromFile


def require_data(cfg: Config, *keys: str) -> None:
    """Check that the folders and files that the data sets of these data loaders name are there.

    Raises:
        UserError: naming the key and the path.
    """
    for key in keys:
        if cfg.get(key) is None:
            continue
        for name, dataset in leaf_configs(cfg[key].get('dataset'), f'{key}.dataset'):
            _require_paths(name, dataset)


def _require_paths(name: str, dataset: dict) -> None:
    root = dataset.get('data_root') or ''
    if '://' in root or str(dataset.get('type')).rpartition('.')[2] in ('CIFAR10', 'CIFAR100', 'MNIST', 'FashionMNIST'):
        return  # remote, or downloaded if it is missing
    prefix = dataset.get('data_prefix') or ''
    prefixes = list(prefix.values()) if isinstance(prefix, dict) else [prefix]
    paths = [('data_root', root)] + [('data_prefix', Path(root, p)) for p in prefixes if isinstance(p, str)]
    if root and not prefix and dataset.get('type') == 'ImageNet' and dataset.get('split'):
        paths.append(('split', Path(root, dataset['split'])))
    if dataset.get('ann_file'):
        paths.append(('ann_file', Path(root, dataset['ann_file'])))
    for key, path in paths:
        if str(path) and not Path(path).expanduser().exists():
            option = 'data_root' if key == 'split' else key
            raise UserError(
                f'{name}.{key}: {path} does not exist.{similar_path(path)} Put the data there, or set '
                f'{option_text(f"{name}.{option}", "PATH")}.'
            )
