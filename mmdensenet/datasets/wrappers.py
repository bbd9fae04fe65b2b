"""What is inside RepeatDataset, ConcatDataset and other wrappers of data sets."""

from collections.abc import Iterator

from mmengine.dataset import BaseDataset


def all_datasets(dataset) -> Iterator:
    """A data set, and those inside it at any depth, each once."""
    waiting, seen = [dataset], set()
    while waiting:
        found = waiting.pop(0)
        if id(found) not in seen:
            seen.add(id(found))
            yield found
            waiting = [*_inside(found), *waiting]


def leaves(dataset) -> list:
    """The data sets that read samples themselves, in their order, each once however often it is repeated."""
    found = [part for part in all_datasets(dataset) if isinstance(part, BaseDataset) or not _inside(part)]
    for leaf in found:
        if hasattr(leaf, 'full_init'):
            leaf.full_init()  # a wrapper may be lazy
    return found


def _inside(dataset) -> list:
    several = getattr(dataset, 'datasets', None)
    parts = [getattr(dataset, 'dataset', None), *(several if isinstance(several, (list, tuple)) else ())]
    return [part for part in parts if hasattr(part, '__getitem__') and not isinstance(part, (str, dict, list, tuple))]
