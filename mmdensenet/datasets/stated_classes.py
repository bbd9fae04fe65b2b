"""The names of classes, as configs, files and checkpoints state them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from mmdensenet.errors import UserError


class ClassListError(UserError, AssertionError, ValueError):
    """Lists of classes that cannot be of the same labels; of the kinds that mmpretrain and mmengine raise then."""


def names_in(metainfo) -> tuple[str, ...] | None:
    """The names in a data set's ``metainfo`` or a checkpoint's ``dataset_meta``, which may be the names themselves."""
    given = metainfo
    if isinstance(metainfo, Mapping):
        given = next((metainfo[key] for key in ('classes', 'CLASSES') if metainfo.get(key) is not None), None)
    if isinstance(given, str):
        given = [given]
    if isinstance(given, Mapping):
        given = _by_number(given)
    if hasattr(given, 'tolist'):  # of numpy
        given = given.tolist()
    return tuple(map(str, given)) if isinstance(given, (list, tuple, range)) and len(given) else None


def names_by_task(metainfo) -> dict[str, tuple[str, ...]]:
    """The names of the classes of each task, in the forms that people give them; mmpretrain reads none of them.

    >>> names_by_task(dict(tasks=['kind'], classes=dict(kind=['bee', 'cat'])))
    {'kind': ('bee', 'cat')}
    """
    if not isinstance(metainfo, Mapping):
        return {}
    classes, tasks = metainfo.get('classes'), metainfo.get('tasks')
    given: dict = {}
    if isinstance(tasks, Mapping):
        given |= tasks
    for task in tasks if isinstance(tasks, (list, tuple)) else ():
        if isinstance(task, Mapping):
            given[task.get('name')] = task
        else:
            given[task] = metainfo.get(f'{task}_classes')
    if isinstance(classes, Mapping):
        given |= classes
    several = {task: names for task, names in given.items() if isinstance(names, (Mapping, list, tuple))}
    named = {str(task): names_in(names) or names_in(dict(classes=names)) for task, names in several.items()}
    return {task: names for task, names in named.items() if names is not None}


def names_in_checkpoint(meta) -> tuple[str, ...] | None:
    """The names in a checkpoint's ``meta``: mmpretrain writes ``dataset_meta``, mmcls 0.x wrote ``CLASSES``; without
    either those that its decisions were fitted for."""
    if not isinstance(meta, Mapping):
        return None
    decided = meta.get('decisions')
    decided = names_in(decided) if isinstance(decided, Mapping) else None
    names = names_in(meta.get('dataset_meta')) or names_in(meta)
    return names or (decided if decided and not are_numbers(decided) else None)


def are_numbers(names: Sequence[str]) -> bool:
    """Whether they only count the classes, as where no names are known."""
    return list(names) == [str(number) for number in range(len(names))]


def class_names(given) -> list[str] | None:
    """The names of a ``classes`` argument, which may be the path of a file with one a line.

    Raises:
        UserError: if it is text and no such file is there, of whose path mmengine takes the characters for names; if
            the file is no text, or has empty lines between names; and for what has no order, such as a set.
    """
    if given is None:
        return None
    if isinstance(given, (str, Path)):
        return _read(str(given))
    names = None if isinstance(given, (Mapping, set, frozenset)) else names_in(given)
    if names is None and not (isinstance(given, (list, tuple)) and not given):
        raise ClassListError(
            f'classes={given!r:.80}: Unsupported type {type(given)} of classes, which need an order: give a list of '
            'names, or a file with one name a line.'
        )
    return list(names or ())


def require_names(given: Sequence) -> None:
    """Refuse what a file has in the place of a name, such as YAML's ``no``, which is False."""
    odd = next((name for name in given if name is None or isinstance(name, (bool, float))), '')
    if odd != '':
        raise ClassListError(f'classes: {odd!r} is no name: put it into quotes (of YAML yes, no and 1.0 are no text).')


def require_own_numbers(stated: Sequence[str], own: Sequence[str] | None, owner: str) -> None:
    """Refuse names of classes that have other numbers where the labels are: these do not follow.

    Args:
        own: the names of the labels, as the data set's class or file says.
        owner: what to call that in the message.
    """
    own = [str(name) for name in own or ()]
    for number, name in enumerate(map(str, stated)):
        if name in own and own[number : number + 1] != [name]:
            raise ClassListError(
                f'classes: {name!r} is named as label {number}, and in {owner} it is label {own.index(name)}, which '
                'stays so whatever is named: leave classes out, or give them in its order.'
            )


def _read(path: str) -> list[str]:
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(f'classes={path!r}: no such file. Give the names, or a file with one name a line.')
    try:
        lines = [line.strip() for line in file.read_text(encoding='utf-8-sig').split('\n')]
    except UnicodeDecodeError as error:
        raise ClassListError(f'{file} is not text in UTF-8: {error.reason} at byte {error.start}.') from error
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise ClassListError(f'{file} has no names of classes: give one a line.')
    if '' in lines:
        raise ClassListError(
            f'{file}, line {lines.index("") + 1}: it is empty, which would number the classes after it otherwise: '
            'remove it.'
        )
    return lines


def _by_number(given: Mapping) -> list[str] | None:
    """The names of {0: name} or {name: 0}; None where the numbers are not 0, 1, 2 and so on."""
    pairs = list(given.items())
    for pair in (pairs, [(number, name) for name, number in pairs]):
        numbered = {int(number): name for number, name in pair if str(number).isdecimal()}
        if sorted(numbered) == list(range(len(pairs))):
            return [numbered[number] for number in range(len(pairs))]
    return None
