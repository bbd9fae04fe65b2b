"""Group images, such as those of a patient, by the paths of the files."""

import re
from collections import Counter
from collections.abc import Sequence

from mmdensenet.errors import UserError

from .samples import Ask, Samples

#: values of `group` that are neither a column nor a regular expression
WORDS = ('folder', 'name', 'none')
_PATIENT = r'(?:patient|pat|pt|participant|subject|subj|sub|case|person)[-_ ]?'
_PATIENT_FOLDER = re.compile(rf'^{_PATIENT}[0-9a-z]*\d', re.IGNORECASE)
#: of a file's name only the beginning: patient12_view1, patient12view1
_PATIENT_FILE = re.compile(
    rf'^{_PATIENT}(?=[0-9a-z]*\d)[0-9a-z]*?(?=$|[^0-9a-z]|(?:view|img|image|scan|slice|frame|left|right|l|r)\d*(?:$|[^0-9a-z]))',
    re.IGNORECASE,
)
#: share of the images whose names have to meet others' for a question; random ids meet by chance
ENOUGH = 0.01


def group_by_path(samples: Samples, stated: str | None, skip: int, ask: Ask, images_are_read: bool = False) -> None:
    """Set the samples' groups, where their paths say what they are.

    A folder or name with ``patient`` or the like and a number in it is a group. Other folders and beginnings of names
    that several images share may be patients, or may not: that is asked for.

    Args:
        stated: 'folder' (the first folder that differs), 'name' (the file's name up to its first number that differs),
            'none', or a regular expression whose brackets hold the group's name, for :func:`re.search` in the path.
        skip: folders at the beginning of each path that are its part and class.
        images_are_read: whether it is known what DICOM files say of their patient; before, nothing is asked.

    Raises:
        UserError: if ``stated`` is none of these, or what it says groups nothing; of ``ask``.
    """
    if stated == 'none':
        samples.alone = True
        samples.facts.append('groups: none, as said; each image is taken for itself')
        return
    paths = [file.split('/')[skip:] for file in samples.files]
    classes = None if samples.multi_label else samples.targets.tolist()
    if stated is not None:
        names, what = _as_stated(stated, samples, paths, classes)
        if not any(names):
            raise UserError(f'group={stated}: {samples.files[0]} has no such {what}, and no other image below has.')
        if len(set(names) - {None}) == 1 and None not in names:
            raise UserError(f'group={stated}: all images are in one group, {names[0]!r}, which cannot be divided.')
        _set(samples, names, what, 'as said')
        return
    patients = [_patient_of(path) for path in paths]
    shared = _shared(patients)
    if shared and 2 * sum(map(bool, patients)) >= len(paths):
        _set(samples, patients, 'patient', 'named in the paths')
        return
    if not images_are_read and any(file.lower().endswith(('.dcm', '.dicom')) for file in samples.files):
        return
    possible = {}
    for word, names in (('folder', _folders(paths, classes, few=skip == 0)), ('name', _beginnings(paths, classes))):
        # cat/001.png and dog/001.png are numbered class by class
        if names is not None and _shared(names, None if word == 'folder' else [_stem(path) for path in paths]):
            possible[word] = names
    if possible:
        examples = ' or '.join(f'the {_what(word)} {_example(names)}' for word, names in possible.items())
        question = (
            f'{samples.root}: the paths may say what belongs together, such as the images of a patient: {examples}. '
            'Does it?'
        )
        choice = ask(question, 'group', (*possible, 'none'))
        if choice not in possible:
            return group_by_path(samples, 'none', skip, ask)
        _set(samples, possible[choice], _what(choice), 'as said')
    elif shared:
        _set(samples, patients, 'patient', 'named in the paths')


def is_path_rule(text: str) -> bool:
    """Whether it is one of the words, or a regular expression with brackets."""
    try:
        return text in WORDS or re.compile(text).groups > 0
    except re.error:
        return '(' in text


def _as_stated(
    stated: str, samples: Samples, paths: list[list[str]], classes: list | None
) -> tuple[list[str | None], str]:
    if stated == 'folder':
        return _folders(paths, classes) or [None] * len(paths), 'folder'
    if stated == 'name':
        return _beginnings(paths, classes) or [None] * len(paths), _what('name')
    try:
        pattern = re.compile(stated)
    except re.error as error:
        raise UserError(f'group={stated}: this is no regular expression, {error}.') from error
    if not pattern.groups:
        raise UserError(
            f"group={stated}: give 'folder', 'name', 'none', or a regular expression with what belongs together in "
            r"brackets, such as '(P\d+)_'."
        )
    found = [pattern.search(file) for file in samples.files]
    return ['/'.join(filter(None, match.groups())) or None if match else None for match in found], 'match'


def _set(samples: Samples, names: Sequence[str | None], what: str, why: str) -> None:
    samples.groups = [name or f'image {file}' for name, file in zip(names, samples.files)]
    count = len({name for name in names if name})
    samples.facts.append(f'groups: {count} by {what}, {why}, such as {_example(names)}')
    alone = sum(not name for name in names)
    if alone:
        first = next(file for file, name in zip(samples.files, names) if not name)
        samples.facts.append(f'{alone} images, such as {first}, have no {what} and are taken each for itself')


def _what(word: str) -> str:
    return 'beginning of the name' if word == 'name' else word


def _example(names: Sequence[str | None]) -> str:
    ((name, images),) = Counter(name for name in names if name).most_common(1)
    return f'{name!r} ({images} images)'


def _shared(names: Sequence[str | None], stems: Sequence[str] | None = None) -> bool:
    """Whether at least two groups are named, and some images share one; by ``stems`` only those of several names."""
    counts = Counter(name for name, _ in set(zip(names, range(len(names)) if stems is None else stems)) if name)
    shared = [count for count in counts.values() if count > 1]
    return len(counts) > 1 and sum(shared) >= ENOUGH * len(names)


def _patient_of(path: list[str]) -> str | None:
    folder = next((piece for piece in path[:-1] if _PATIENT_FOLDER.match(piece)), None)
    if folder is not None:
        return folder
    match = _PATIENT_FILE.match(_stem(path))
    return match[0] if match else None


def _stem(path: list[str]) -> str:
    return path[-1].rsplit('.', 1)[0]


def _folders(paths: list[list[str]], classes: list | None, few: bool = False) -> list[str | None] | None:
    """The first folder of each path, at the first depth where they differ in more than the class.

    Args:
        few: whether folders no more than the classes, and than four, are no groups: they are how a data set is stored.
    """
    for depth in range(max(map(len, paths)) - 1):
        names = [path[depth] if len(path) > depth + 1 else None for path in paths]
        if _says_nothing(names, classes):
            continue
        if few and len(set(names)) <= max(4, len(set(classes or ()))):
            continue
        return names
    return None


def _beginnings(paths: list[list[str]], classes: list | None) -> list[str | None] | None:
    """Each file's name up to its first number, or to a later one if that is the same in all, or says the class only."""
    stems = [_stem(path) for path in paths]
    for place in range(3):
        names = [_beginning(stem, place) for stem in stems]
        if not _says_nothing(names, classes):
            return names if len(set(names)) < len(names) else None
    return None


def _beginning(stem: str, place: int) -> str | None:
    pieces = re.split(r'([-_. ()]+)', stem)
    numbered = [i for i in range(0, len(pieces), 2) if any(char.isdigit() for char in pieces[i])]
    if len(numbered) <= place:
        return None
    last = numbered[place]
    name = ''.join(pieces[: last + 1])
    if last == len(pieces) - 1:  # 12L and 12R, P012a and P012b
        name = re.sub(r'(?<=\d)[A-Za-z]$', '', name)
    return name


def _says_nothing(names: Sequence[str | None], classes: Sequence | None) -> bool:
    """Whether all are the same, or one for each class."""
    if len(set(names)) == 1:
        return True
    pairs = set(zip(names, classes)) if classes is not None else set()
    return bool(pairs) and len(pairs) == len(set(names)) == len(set(classes))
