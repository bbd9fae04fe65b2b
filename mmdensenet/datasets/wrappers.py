"""What is inside RepeatDataset, ConcatDataset and other wrappers of data sets, in configs and when they are built."""

from collections.abc import Iterator, Sequence
from numbers import Integral

from mmengine.dataset import BaseDataset
from torch.utils.data import ConcatDataset, Subset

from mmdensenet.errors import UserError

# ---------------------------------------------------------------------------------------------------------------------
# In a config


def leaf_configs(dataset, key: str = 'dataset') -> Iterator[tuple[str, dict]]:
    """The settings of the data sets inside any nesting of wrappers, with their keys ('KEY.datasets.0.dataset')."""
    if not isinstance(dataset, dict):
        return
    if isinstance(dataset.get('dataset'), dict):
        yield from leaf_configs(dataset['dataset'], f'{key}.dataset')
    elif isinstance(dataset.get('datasets'), (list, tuple)):
        for number, part in enumerate(dataset['datasets']):
            yield from leaf_configs(part, f'{key}.datasets.{number}')
    else:
        yield key, dataset


def config_pipeline(loader: dict | None, name: str) -> list[dict] | None:
    """The pipeline of a data loader's data set, the same of all inside it; None if there is none.

    Args:
        name: of the loader, for the message.

    Raises:
        UserError: if the data sets inside have several pipelines, so that none is the one to prepare an image with.
    """
    found = [(key, leaf['pipeline']) for key, leaf in _leaves_of(loader, name) if leaf.get('pipeline') is not None]
    if not found:
        return None
    first, pipeline = found[0]
    for key, other in found[1:]:
        if list(other) != list(pipeline):
            raise UserError(f'{first} and {key} have other pipelines: which one prepares an image? Make them the same.')
    return pipeline


def first_pipeline(loader: dict | None, name: str) -> list[dict]:
    """The pipeline of the first data set of a data loader, which begins as all others do: it reads files, or not.

    Raises:
        UserError: if some of them read files, which gives colours in BGR order, and others have images in memory, RGB.
    """
    found: dict[bool, tuple[str, list[dict]]] = {}
    for key, leaf in _leaves_of(loader, name):
        steps = list(leaf.get('pipeline') or ())
        found.setdefault(reads_files(steps), (key, steps))
    if len(found) == 2:
        raise UserError(
            f'{found[True][0]} reads files, in BGR order, and {found[False][0]} has images in memory, in RGB order: a '
            'model cannot take both.'
        )
    return next(iter(found.values()), ('', []))[1]


def reads_files(pipeline: Sequence[dict]) -> bool:
    """Whether a pipeline begins with reading a file."""
    return bool(pipeline) and 'Load' in str(pipeline[0].get('type'))


def _leaves_of(loader: dict | None, name: str) -> list[tuple[str, dict]]:
    return list(leaf_configs((loader or {}).get('dataset'), f'{name}.dataset'))


# ---------------------------------------------------------------------------------------------------------------------
# Built


def all_datasets(dataset) -> Iterator:
    """A data set, and those inside it at any depth, each once."""
    seen = set()
    for _, found in _walk(dataset, ''):
        if id(found) not in seen:
            seen.add(id(found))
            yield found


def leaves(dataset) -> list:
    """The data sets that read samples themselves, in their order, each once however often it is repeated."""
    return [leaf for _, leaf in named_leaves(dataset)]


def named_leaves(dataset, key: str = 'dataset') -> list[tuple[str, object]]:
    """:func:`leaves` with their keys in the config."""
    found, seen = [], set()
    for name, part in _walk(dataset, key):
        if hasattr(part, 'full_init'):
            part.full_init()  # a wrapper may be lazy
        if id(part) not in seen and (isinstance(part, BaseDataset) or not _inside(part)):
            found.append((name, part))
        seen.add(id(part))
    return found


def locate(dataset, index: int) -> tuple[object, int]:
    """The data set inside any nesting of wrappers that reads sample ``index``, and the sample's index there.

    A wrapper that is not known is given back itself.
    """
    while not isinstance(dataset, BaseDataset):
        if isinstance(dataset, Subset):
            dataset, index = dataset.dataset, dataset.indices[index]
        elif isinstance(dataset, ConcatDataset):  # mmengine's is one
            if hasattr(dataset, 'full_init'):
                dataset.full_init()
            number = next(i for i, end in enumerate(dataset.cumulative_sizes) if index < end)
            index -= dataset.cumulative_sizes[number - 1] if number else 0
            dataset = dataset.datasets[number]
        elif type(dataset).__name__ == 'KFoldDataset':  # its data set is the fold, once it is initialised
            dataset.full_init()
            dataset = dataset.dataset
        elif hasattr(dataset, '_get_ori_dataset_idx') and hasattr(dataset, 'dataset'):
            dataset, index = dataset.dataset, dataset._get_ori_dataset_idx(index)
        else:
            break
    return dataset, index


def sample_info(dataset, index: int) -> dict:
    """What a data set lists of a sample, such as ``img_path`` and ``gt_label``; {} if it does not tell."""
    leaf, index = locate(dataset, index)
    return leaf.get_data_info(index) if hasattr(leaf, 'get_data_info') else {}


def sample_labels(dataset, index: int) -> list[int] | None:
    """The class of a sample, or its positive labels; None if it has none, or is of several tasks.

    Raises:
        UserError: if its label is something else than the number of a class, or several.
    """
    leaf, index = locate(dataset, index)
    if not hasattr(leaf, 'get_cat_ids'):
        return None
    try:
        labels = [int(label) for label in leaf.get_cat_ids(index)]
    except (KeyError, NotImplementedError):
        return None
    except (TypeError, ValueError) as error:
        _require_numbers(leaf, index, error)
        given = sample_info(leaf, index).get('gt_label')
        given = given.tolist() if hasattr(given, 'tolist') else given
        several = isinstance(given, (list, tuple)) and all(isinstance(label, Integral) for label in given)
        return list(given) if several else None  # a list where its class foresees one number
    _require_numbers(leaf, index)
    return labels


def _require_numbers(leaf, index: int, error: Exception | None = None) -> None:
    """Refuse what only looks like a number of a class, such as '1' and 1.5, which int() takes."""
    info = sample_info(leaf, index)
    given = info.get('gt_label')
    several = isinstance(given, (list, tuple))
    odd = [label for label in (given if several else [given]) if isinstance(label, (str, float, bool))]
    if odd or (error is not None and isinstance(given, Integral)):
        of = getattr(leaf, 'ann_file', '') or type(leaf).__name__
        what = f'no list of numbers as {type(leaf).__name__} needs' if not odd else 'not the number of a class'
        raise UserError(f'{info.get("img_path", f"sample {index}")} in {of} has the label {given!r}: {what}.')


def dataset_classes(dataset) -> list[str] | None:
    """The names of the classes of a data set, or of those inside it."""
    for part in all_datasets(dataset):
        classes = (getattr(part, 'metainfo', None) or {}).get('classes')
        if isinstance(classes, (list, tuple)) and classes:
            return [str(name) for name in classes]
    return None


def _walk(dataset, key: str) -> Iterator[tuple[str, object]]:
    waiting = [(key, dataset)]
    while waiting:
        name, found = waiting.pop(0)
        yield name, found
        if isinstance(found, Subset) and hasattr(found.dataset, 'get_subset'):
            inside = [('dataset', found.dataset.get_subset(list(found.indices)))]
        else:
            inside = _inside(found)
        waiting = [*((f'{name}.{step}', part) for step, part in inside), *waiting]


def _inside(dataset) -> list[tuple[str, object]]:
    several = getattr(dataset, 'datasets', None)
    parts = [('dataset', getattr(dataset, 'dataset', None))]
    if isinstance(several, (list, tuple)):
        parts += [(f'datasets.{number}', part) for number, part in enumerate(several)]
    kinds = (str, dict, list, tuple)
    return [(name, part) for name, part in parts if hasattr(part, '__getitem__') and not isinstance(part, kinds)]
