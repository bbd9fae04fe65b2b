"""Folds of wrapped data sets: images are divided, not places, so that none is in two folds."""

from collections.abc import Iterator, Mapping, Sequence

from mmengine.config import Config
from mmengine.dataset import BaseDataset, ClassBalancedDataset, ConcatDataset, RepeatDataset

from mmdensenet.errors import UserError


def require_fold(fold: int, num_splits: int) -> None:
    """Raises a UserError for a fold that is not there; mmpretrain takes other images for it, or none, silently."""
    if type(num_splits) is not int or num_splits < 2:
        raise UserError(f'KFoldDataset: num_splits={num_splits!r}: give a whole number of 2 or more.')
    if type(fold) is not int or not 0 <= fold < num_splits:
        raise UserError(f'KFoldDataset: fold={fold!r}: with num_splits={num_splits} give 0 to {num_splits - 1}.')


def count_images(dataset) -> int:
    """The images of a built data set, each once however often a wrapper inside it repeats it."""
    if isinstance(dataset, ConcatDataset):
        return sum(map(count_images, dataset.datasets))
    return len(dataset) if _is_plain(dataset) else count_images(dataset.dataset)


def take_images(dataset, indices: Sequence[int]):
    """The data set with these of its images, in whose place wrappers inside it are made anew.

    Args:
        indices: among :func:`count_images`; increasing, unless ``dataset`` is no wrapper.
    """
    if isinstance(dataset, ConcatDataset):
        parts, first = [], 0
        for part in dataset.datasets:
            last = first + count_images(part)
            inside = [index - first for index in indices if first <= index < last]
            if inside:
                parts.append(_as_config(take_images(part, inside)))
            first = last
        return ConcatDataset(parts, ignore_keys=getattr(dataset, 'ignore_keys', None))
    if isinstance(dataset, RepeatDataset):
        return RepeatDataset(_as_config(take_images(dataset.dataset, indices)), dataset.times)
    if isinstance(dataset, ClassBalancedDataset):
        return ClassBalancedDataset(_as_config(take_images(dataset.dataset, indices)), dataset.oversample_thr)
    return (dataset if _is_plain(dataset) else dataset.dataset).get_subset(list(indices))


def require_apart(cfg: Config) -> None:
    """Compare the folds of the training and the validation part.

    Raises:
        UserError: if both have images of the same data set, so that validation would judge what was trained; or if the
            data that are divided have the same images twice, of which one may be trained and the other validated.
    """
    for key in ('train_dataloader', 'val_dataloader'):
        _require_images_once((cfg.get(key) or {}).get('dataset'), key)
    trained = dict(_folds((cfg.get('train_dataloader') or {}).get('dataset')))
    for data, fold in _folds((cfg.get('val_dataloader') or {}).get('dataset')):
        ours = trained.get(data)
        if ours is not None and not _are_apart(ours, fold):
            wanted = dict(ours, test_mode=True)
            raise UserError(
                'train_dataloader and val_dataloader have folds of the same data with the same images in them, so that '
                f'the validation would be of trained images: give the KFoldDataset of val_dataloader {_text(wanted)}.'
            )


def _require_images_once(dataset, key: str, divided: bool = False) -> None:
    if not isinstance(dataset, Mapping):
        return
    divided = divided or _is_fold(dataset)
    parts = dataset.get('datasets')
    parts = list(parts) if isinstance(parts, (list, tuple)) else []
    data = [repr(_without_pipeline(part)) for part in parts]
    if divided and len(set(data)) < len(data):
        raise UserError(
            f'{key}: a KFoldDataset divides a ConcatDataset that has the same data twice, so that an image would be in '
            'two folds: put each data set in once, and repeat it with RepeatDataset.'
        )
    for part in (dataset.get('dataset'), *parts):
        _require_images_once(part, key, divided)


def _are_apart(one: dict, other: dict) -> bool:
    if (one['num_splits'], one['seed']) != (other['num_splits'], other['seed']):
        return False
    if one['test_mode'] and other['test_mode']:
        return one['fold'] != other['fold']
    return one['test_mode'] != other['test_mode'] and one['fold'] == other['fold']


def _folds(dataset) -> Iterator[tuple[str, dict]]:
    """What each KFoldDataset in a config divides, without its pipelines, and how."""
    if not isinstance(dataset, Mapping):
        return
    inside = dataset.get('dataset')
    if _is_fold(dataset):
        default = dict(fold=0, num_splits=5, seed=None, test_mode=False)
        yield repr(_without_pipeline(inside)), {key: dataset.get(key, value) for key, value in default.items()}
    yield from _folds(inside)
    for part in dataset.get('datasets') or () if isinstance(dataset.get('datasets'), (list, tuple)) else ():
        yield from _folds(part)


def _is_fold(dataset: Mapping) -> bool:
    return str(getattr(dataset.get('type'), '__name__', dataset.get('type'))).endswith('KFoldDataset')


def _without_pipeline(entry):
    if isinstance(entry, Mapping):
        return sorted((key, _without_pipeline(value)) for key, value in entry.items() if key != 'pipeline')
    return [_without_pipeline(value) for value in entry] if isinstance(entry, (list, tuple)) else entry


def _text(settings: dict) -> str:
    return ', '.join(f'{key}={value!r}' for key, value in settings.items())


def _is_plain(dataset) -> bool:
    return isinstance(dataset, BaseDataset) or not hasattr(dataset, 'dataset')


def _as_config(dataset) -> dict:
    """mmengine's wrappers take what is built only where it is a BaseDataset."""
    return dict(type=lambda: dataset)
