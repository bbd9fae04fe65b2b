"""Whether a data set has labels."""

from .wrappers import leaves

#: what samples have their labels as
FIELDS = ('gt_label', 'gt_score')
#: a soft label, from 0 to 1, is positive above it where labels are counted, stratified or ranked
POSITIVE_ABOVE = 0.5


def unlabelled_parts(dataset) -> list:
    """The data sets inside ``dataset`` whose samples have no label, such as CustomDataset's with ``with_label=False``.

    The first sample speaks for its data set, but where labels are of several tasks, of which images may lack any. A
    data set that does not describe its samples counts as labelled.
    """
    return [leaf for leaf in leaves(dataset) if _is_unlabelled(leaf)]


def source_of(dataset) -> str:
    """What to call a data set in messages: its annotation file, folder or class."""
    prefix = getattr(dataset, 'data_prefix', None)  # CIFAR's has no img_path
    folder = prefix.get('img_path') if isinstance(prefix, dict) else prefix
    return getattr(dataset, 'ann_file', '') or folder or type(dataset).__name__


def _is_unlabelled(dataset) -> bool:
    if not hasattr(dataset, 'get_data_info') or len(dataset) == 0:
        return False
    info = dataset.get_data_info(0)
    if isinstance(info, dict) and info.get('gt_label') == {}:
        return not any(dataset.get_data_info(index).get('gt_label') for index in range(len(dataset)))
    return isinstance(info, dict) and all(info.get(field) is None for field in FIELDS)
