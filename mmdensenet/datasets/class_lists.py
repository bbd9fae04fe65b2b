"""Whether the parts of the data, and the checkpoint, number the same classes in the same order."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmengine.config import Config

from .labels import unlabelled_parts
from .spelling import apart, look_alike, plain, similar
from .stated_classes import ClassListError, names_by_task, names_in
from .wrappers import leaf_configs, named_leaves, sample_info, sample_labels

#: what systems and tools leave in folders
LEFT_BEHIND = ('__MACOSX', '__pycache__', '@eaDir', '$RECYCLE.BIN', 'lost+found', 'System Volume Information')
#: names that a message lists
SHOWN = 20
#: images that are looked at for the labels of their folders; and as many of one folder are more than a few corrections
LOOKED_AT, ENOUGH = 20_000, 3


@dataclass(frozen=True)
class ClassList:
    """The classes of one data set, or of a checkpoint.

    Attributes:
        owner: the key of the data set in the config, or the name of the checkpoint.
        names: in the order of their numbers; None where there are numbers only.
        folder: whose folders are the classes, or ''.
        file: that lists the labels, or ''.
        largest: the largest label, where there are no names.
        setting: the argument that gives the data set a list.
        is_checkpoint: and not a data set.
        task: whose classes these are, of a data set for several tasks, or ''.
        numbered: of the folders whose images an annotation file gives one label each, that label.
    """

    owner: str
    names: tuple[str, ...] | None
    folder: str = ''
    file: str = ''
    largest: int = -1
    setting: str = 'metainfo=dict(classes={})'
    is_checkpoint: bool = False
    task: str = ''
    numbered: Mapping[str, int] = field(default_factory=dict)

    def place(self, name: str) -> str:
        """Where to look for a class."""
        return f' ({Path(self.folder, name)})' if self.folder else f' (in {self.file})' if self.file else ''

    def fits(self, num_classes: int | None) -> bool:
        """Whether a head of so many classes may be for this list, or for one that lacks or adds a class."""
        return num_classes is None or self.names is None or abs(len(self.names) - num_classes) <= 1

    def shares_names(self, others: Iterable['ClassList']) -> bool:
        """Whether a name is in another list too, or a folder of it, but for its spelling."""
        names = {plain(name) for other in others for name in other.names or other.numbered}
        return any(plain(name) in names for name in self.names or ())


def class_lists(dataset, key: str) -> list[ClassList]:
    """The lists of the data sets inside a built one, however wrapped; none of those that have no labels.

    Args:
        key: where the config has it, such as 'val_dataloader.dataset'.

    Raises:
        UserError: for a hidden folder among the classes.
    """
    lists = []
    for owner, leaf in named_leaves(dataset, key):
        if unlabelled_parts(leaf) or not len(leaf):
            continue
        if by_task := names_by_task(getattr(leaf, 'metainfo', None)):
            lists += lists_of_tasks(by_task, owner, file=str(getattr(leaf, 'ann_file', '') or ''))
            continue
        names = names_in(getattr(leaf, 'metainfo', None))
        folders = getattr(leaf, 'folder_to_idx', None) or {}
        folder = str(leaf.img_prefix) if folders else ''
        require_no_hidden(folders, folder)
        largest = -1
        if names is None:
            labels = [sample_labels(leaf, index) for index in range(len(leaf))]
            largest = max((max(found) for found in labels if found), default=-1)
            if largest < 0:
                continue
        file = '' if folder else str(getattr(leaf, 'ann_file', '') or '')
        setting = 'label_columns={}' if getattr(leaf, 'label_columns', None) else ClassList.setting
        numbers = {} if folder or hasattr(leaf, 'label_column') else _numbered_folders(leaf)
        lists.append(ClassList(owner, names, folder, file, largest, setting, numbered=numbers))
    return lists


def lists_of_tasks(by_task: Mapping[str, tuple[str, ...]], owner: str, **more) -> list[ClassList]:
    """A list for each task."""
    return [
        ClassList(
            f'{owner}, task {task!r},', names, setting=f'metainfo=dict(classes=dict({task}={{}}))', task=task, **more
        )
        for task, names in by_task.items()
    ]


def class_lists_in_config(cfg: Config, loader: str, known: Iterable[str] = ()) -> list[ClassList]:
    """:func:`class_lists` of a part that is not built: of what is there. A part whose data are elsewhere has none.

    Args:
        known: texts of data sets that are compared already.

    Raises:
        UserError: if the part's own list cannot be of its labels.
    """
    from mmpretrain.registry import DATASETS

    lists = []
    for owner, leaf in leaf_configs((cfg.get(loader) or {}).get('dataset'), f'{loader}.dataset'):
        if repr(leaf) in known:
            continue
        try:
            kind = leaf['type'] if isinstance(leaf['type'], type) else DATASETS.get(leaf['type'])
            names = names_in(getattr(kind, 'METAINFO', None))
            if names and not leaf.get('metainfo') and not leaf.get('classes'):  # CIFAR's are known without the data
                lists.append(ClassList(owner, names))
            else:
                lists += class_lists(DATASETS.build(leaf), owner)
        except ClassListError:
            raise
        except Exception:  # nothing reads this part now, so that what it lacks is no fault
            continue
    return lists


def require_no_hidden(folders: Iterable[str], folder: str) -> None:
    """Raises a UserError for a folder that is there for a system or a tool, and would count as a class."""
    hidden = [name for name in folders if name.startswith('.') or name in LEFT_BEHIND]
    if hidden:
        raise ClassListError(
            f'{Path(folder, hidden[0])} is a hidden folder or one that a system leaves behind, and would count as a '
            'class, which shifts the labels of the others: remove it.'
        )


def require_same_classes(lists: Sequence[ClassList]) -> None:
    """Compare all lists with the first that has names; those of each task with each other.

    Raises:
        UserError: naming the two, the classes that differ, and what to do.
    """
    for task in dict.fromkeys(each.task for each in lists):
        _require_same([each for each in lists if each.task == task])


def _require_same(lists: Sequence[ClassList]) -> None:
    first = next((each for each in lists if each.names is not None), None)
    for each in lists if first else ():
        if each.names is None:
            if each.largest >= len(first.names):
                raise ClassListError(
                    f'{each.owner}{f" ({each.file})" if each.file else ""} has label {each.largest}, but {first.owner} '
                    f'has {len(first.names)} classes, 0 to {len(first.names) - 1}: one of the two has wrong labels.'
                )
        elif each.names != first.names:
            raise ClassListError(_describe(first, each))
    _require_same_numbers(lists, first)


def _require_same_numbers(lists: Sequence[ClassList], named: ClassList | None) -> None:
    """Refuse annotation files that number classes otherwise than the names that their folders have.

    Only where every folder is a class, and all its images have one label, which no corrected labels do.
    """
    measures = [(each.owner, each.numbered) for each in lists if each.numbered][:1]
    if named is not None:
        measures.insert(0, (named.owner, {name: number for number, name in enumerate(named.names)}))
    for owner, numbers in measures:
        for each in lists:
            other = {name for name, number in each.numbered.items() if numbers.get(name) != number}
            if other and each.numbered.keys() <= numbers.keys():
                name = min(other)
                raise ClassListError(
                    f'{each.owner} ({each.file}) gives the images in folders {name!r} the label {each.numbered[name]}, '
                    f'and {name!r} is class {numbers[name]} in {owner}: one of the two has wrong numbers.'
                )


def _numbered_folders(leaf) -> dict[str, int]:
    """Folder -> the label of all its images; {} if those of one have several labels, or are few."""
    found: dict[str, list[int]] = defaultdict(list)
    for index in range(0, len(leaf), max(1, len(leaf) // LOOKED_AT)):
        labels, path = sample_labels(leaf, index), sample_info(leaf, index).get('img_path')
        folder = Path(str(path or '')).parent.name
        if not folder or labels is None or len(labels) != 1 or found[folder][:1] not in ([], labels):
            return {}
        found[folder] += labels
    few = len(found) < 2 or any(len(labels) < ENOUGH for labels in found.values())
    return {} if few else {folder: labels[0] for folder, labels in found.items()}


def require_concatenable(concat, error: Exception) -> None:
    """Say what differs between the data sets of a ConcatDataset that raised ``error`` while it was built."""
    parts = getattr(concat, 'datasets', None) or []
    lists = []
    for number, part in enumerate(parts):
        lists += class_lists(part, f'ConcatDataset.datasets.{number}')
    require_same_classes(lists)
    if 'meta information' in str(error) or 'should be the same' in str(error):
        raise ClassListError(
            f'ConcatDataset: {error}: give its data sets the same metainfo, or ignore_keys.'
        ) from error


def number_folders(folders: Sequence[str], classes: Sequence[str], root: str) -> dict[str, int]:
    """Each folder's label, where the names of the classes are given.

    By name where the folders have names of classes, whatever the order, and although some may be missing. Folders with
    other names than the classes (ImageNet's) are numbered in alphabetical order, as they always were.

    Raises:
        UserError: if some folders are classes and others are not, or their number is another; if a folder's class is
            named twice; and if the alphabetical order is likely not that of the classes.
    """
    require_no_hidden(folders, root)
    classes = [str(name) for name in classes]
    twice = next((name for name in folders if classes.count(name) > 1), None)
    if twice is not None:
        raise ClassListError(f'metainfo.classes has {twice!r} twice: which is the number of {Path(root, twice)}?')
    strange = [name for name in folders if name not in classes]
    if not strange:
        return {name: classes.index(name) for name in folders}
    if len(strange) < len(folders) or len(folders) != len(classes):
        lacking = [name for name in classes if name not in folders]
        meant = similar(strange[0], lacking)
        guess = 'Remove it, or add its class.'
        if meant:
            codes = f' ({apart(strange[0], meant)})' if look_alike(strange[0], meant) else ''
            guess = f'It is likely {meant!r}, spelt otherwise{codes}: rename it.'
        counts = f"; the number of folders ({len(folders)}) doesn't match that of classes ({len(classes)})"
        raise ClassListError(
            f'{Path(root, strange[0])} is no class of metainfo.classes ({_listed(classes)})'
            f'{counts if len(folders) != len(classes) else ""}. {guess}'
        )
    _require_alphabetical(sorted(folders), classes, root)
    return {name: number for number, name in enumerate(sorted(folders))}


def _require_alphabetical(folders: list[str], classes: list[str], root: str) -> None:
    """Refuse folders with names of their own whose alphabetical order is not the one that the classes have."""
    spelt = [plain(name) for name in classes]
    for number, name in enumerate(folders):
        if plain(name) in spelt and spelt[number] != plain(name):
            meant = classes[spelt.index(plain(name))]
            raise ClassListError(
                f'{Path(root, name)} would be class {number}, {classes[number]!r}, by the order of the folders, and is '
                f'likely {meant!r}: give folders and metainfo.classes the same names.'
            )
    alike = len({re.sub(r'\d+', '0', name) for name in folders}) == 1
    counted = sorted(folders, key=lambda name: [int(number) for number in re.findall(r'\d+', name)])
    if alike and counted != folders:  # 'a2' comes before 'a10'
        at = next(i for i, (name, other) in enumerate(zip(folders, counted)) if name != other)
        raise ClassListError(
            f'{Path(root, folders[at])} would be class {at}, {classes[at]!r}, by the alphabetical order of the '
            f'folders, and by their numbers that is {counted[at]!r}: name the folders as metainfo.classes.'
        )


def _describe(first: ClassList, other: ClassList) -> str:
    lacking = [name for name in first.names if name not in other.names]
    added = [name for name in other.names if name not in first.names]
    if not lacking and not added:
        pairs = enumerate(zip(first.names, other.names))
        at, (here, there) = next(((i, pair) for i, pair in pairs if pair[0] != pair[1]), (0, ('', '')))
        if not here:
            return f'{other.owner} or {first.owner} has a class twice: {_listed(other.names)}; {_listed(first.names)}.'
        return (
            f'{other.owner} has the classes of {first.owner} in another order: its label {at} is {there!r}, '
            f'not {here!r}.\nGive it the same order: add {_whole_list(first, other)}.'
        )
    differ = []
    if lacking:
        differ.append(f'{other.owner} lacks {_listed(lacking)}{first.place(lacking[0]) if added else ""}')
    if added:
        differ.append(f'{"" if lacking else f"{other.owner} "}has {_listed(added)}{other.place(added[0])}')
    return (
        f'{first.owner} and {other.owner} have different classes, so that a label means another class in each: '
        f'{", ".join(differ)}.\n{_advice(first, other, lacking, added)}'
    )


def _advice(first: ClassList, other: ClassList, lacking: list[str], added: list[str]) -> str:
    for name in added:
        meant = similar(name, lacking) or next((own for own in first.names if plain(own) == plain(name)), None)
        if meant:
            return f'{apart(name, meant)} are likely one class, spelt differently: give it one name.'
    if not added:
        return f'If it has no image of {"them" if len(lacking) > 1 else "it"}, add {_whole_list(first, other)}.'
    if not lacking:
        return f'Remove {"them" if len(added) > 1 else "it"} if that is no class. If it is one, ' + (
            'it is a checkpoint of other data.' if first.is_checkpoint else f'add {_whole_list(other, first)}.'
        )
    if len(lacking) == len(added) == len(first.names):
        return f'If they are the same under other names, in this order, add {_whole_list(first, other)}.'
    if len(lacking) < len(first.names):
        return f'Rename or remove what is no class, and if {lacking[0]!r} has no image add {_whole_list(first, other)}.'
    return f'It is likely another data set than that of {first.owner}.'


def _whole_list(whole: ClassList, of: ClassList) -> str:
    """The line that gives ``of`` the whole list."""
    if len(whole.names) > SHOWN and 'metainfo' in of.setting:
        return f"classes='FILE' to {of.owner}, a file with the {len(whole.names)} names, one a line"
    return f'{of.setting.format(list(whole.names))} to {of.owner}'


def _listed(names: Sequence[str]) -> str:
    more = f' and {len(names) - SHOWN} more' if len(names) > SHOWN else ''
    return ', '.join(map(repr, names[:SHOWN])) + more
