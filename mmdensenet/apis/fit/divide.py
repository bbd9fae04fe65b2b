"""Step 2, split: training, validation and test part, or folds; nothing that belongs together is divided."""

import csv
import hashlib
import io
import secrets
from collections import defaultdict
from pathlib import Path

import numpy as np

from mmdensenet.datasets.near_duplicates import connected
from mmdensenet.datasets.splits import assign_parts
from mmdensenet.errors import UserError

from .look import Look
from .part_labels import require_labels
from .samples import PARTS, Samples
from .work_folder import write_text

SHARES = (0.7, 0.1, 0.2)
SHOWN = 3


def divide(look: Look, before: dict[str, list[str]] | None, *, folds: int | None = None, allow_leak: bool = False):
    """The parts of all samples.

    Whole groups: the samples' groups, joined where they have duplicates of one another. Where parts are given they are
    kept, and what has none is divided so that the shares come near to 70, 10 and 20 percent. Otherwise labels are
    stratified. What was in a part before stays there: added images do not move the others.

    Without ``before`` (another work directory) most images are in the same part whatever else there is, but not all:
    groups are ordered by a hash of their names, and of each kind of labels the first 70 percent are for training.
    Parts by the hash alone would never change, but shares would differ by chance: of twenty images of a class two are
    expected for validation, and in one of eight divisions there would be none. So shares come first, and who needs the
    same parts elsewhere gives the earlier samples.csv.

    Args:
        before: parts by image of an earlier call.
        folds: divide into so many folds; fold k is tested by the model that is validated on the next and trained on the
            others.

    Returns:
        dict of columns, ``split`` or ``fold0``, ``fold1`` and so on, with N parts each; and lines to print.

    Raises:
        UserError: for a group or duplicates in two parts of a given split, also by way of images without a part,
            without ``allow_leak``.
    """
    samples = look.samples
    groups = joined_groups(samples, look.alike)
    before = {image: row for image, row in (before or {}).items() if len(row) == (folds or 1)}
    lines = []
    if folds is not None:
        if folds < 3:
            raise UserError(f'folds={folds}: give 3 or more, one of which is for validation and one for the test.')
        if samples.parts is not None:
            lines.append('the parts that are given are not used, for there are folds')
        number = _folds(samples, groups, before, folds)
        columns = {
            f'fold{k}': ['test' if n == k else 'val' if n == (k + 1) % folds else 'train' for n in number.tolist()]
            for k in range(folds)
        }
        for name, column in columns.items():
            for part in ('train', 'val'):  # the test parts are judged together
                require_labels(samples, np.array(column) == part, f'{part} part of {name}', lines)
        counts = np.bincount(number, minlength=folds)
        lines.append(f'{folds} folds of {counts.min()} to {counts.max()} images, {_by(samples)}')
        return columns, lines
    leaks: list[str] = []
    parts = np.array(samples.parts if samples.parts is not None else [''] * len(samples), dtype=object)
    if samples.parts is not None:
        lines.append('the given parts are kept')
        leaks = find_leaks(samples, parts, look)
        what = f'{len(leaks)} leaks between the given parts'
        _allow(leaks, allow_leak, what, 'Correct them, or go on with allow_leak=True', lines)
        _take_again(samples, parts, groups, before)
    elif before:
        parts = np.array([before.get(image, [''])[0] for image in samples.images], dtype=object)
        kept = int((parts != '').sum())
        lines.append(f'{kept} images stay in their part, {len(samples) - kept} are new')
    if not leaks:
        _follow_groups(parts, groups)
    _fill(samples, parts, groups, lines)
    counts = [f'{part} {int((parts == part).sum())}' for part in PARTS]
    lines.append(f'{", ".join(counts)} images, {_by(samples)}')
    if before:
        joined, remedy = 'added images join what is in two parts', 'Remove them, or samples.csv for a new division'
    else:  # an image of no part has a group in one and a duplicate in another
        joined = 'images without a part join what is in two'
        remedy = 'Give them a part, leave them out, or go on with allow_leak=True'
    if not leaks:
        _allow(find_leaks(samples, parts, look), allow_leak, joined, remedy, lines)
    for part in PARTS:
        require_labels(samples, parts == part, f'{part} part', lines)
    return {'split': parts.tolist()}, lines


def _allow(leaks: list[str], allow_leak: bool, what: str, remedy: str, lines: list[str]) -> None:
    """Say the first leaks, as an error unless they are allowed."""
    if leaks and not allow_leak:
        more = ' ...' if len(leaks) > SHOWN else ''
        raise UserError(f'{what}: {"; ".join(leaks[:SHOWN])}{more}. {remedy}.')
    lines += [f'leak, allowed: {leak}' for leak in leaks[:SHOWN]]
    if len(leaks) > SHOWN:
        lines.append(f'and {len(leaks) - SHOWN} more leaks')


def joined_groups(samples: Samples, alike: np.ndarray) -> np.ndarray:
    """(N,) numbers: the same for what shares a group or is a duplicate."""
    if samples.groups is None:
        return alike
    of_group = np.unique(samples.groups, return_inverse=True)[1]
    first_of: dict[tuple[str, int], int] = {}
    pairs = []
    for i, (group, kind) in enumerate(zip(of_group.tolist(), alike.tolist())):
        pairs += [(i, first_of.setdefault(('group', group), i)), (i, first_of.setdefault(('alike', kind), i))]
    return connected(len(samples), np.array(pairs, dtype=int))


def find_leaks(samples: Samples, parts: np.ndarray, look: Look) -> list[str]:
    """Describe the groups and the duplicates that are in two parts, one line each."""
    leaks = []
    for what, members in (('group', samples.groups), ('duplicates', look.alike.tolist())):
        places = defaultdict(dict)
        for i, member in enumerate(members or ()):
            if parts[i]:
                places[member].setdefault(parts[i], samples.images[i])
        for member, there in places.items():
            if len(there) > 1:
                name = f'group {member}' if what == 'group' else 'the same image'
                leaks.append(f'{name} is in {" and ".join(f"{part} ({image})" for part, image in there.items())}')
    return leaks


def _take_again(samples: Samples, parts: np.ndarray, groups: np.ndarray, before: dict[str, list[str]]) -> None:
    """What an earlier call took from the given training part, and the added images of the same groups."""
    given = set(samples.parts)
    taken = {}
    for i, image in enumerate(samples.images):
        was = before.get(image, [''])[0]
        if parts[i] in ('', 'train') and was in PARTS and was not in given:
            taken[groups[i]] = parts[i] = was
    for i, image in enumerate(samples.images):
        if parts[i] == 'train' and image not in before:
            parts[i] = taken.get(groups[i], 'train')


def _follow_groups(parts: np.ndarray, groups: np.ndarray) -> None:
    """Assign each image of a group whose part is known to that part."""
    of_group: dict[int, str] = {}
    for part, group in zip(parts, groups.tolist()):
        if part:
            of_group.setdefault(group, part)
    for i, group in enumerate(groups.tolist()):
        parts[i] = parts[i] or of_group.get(group, '')


def _fill(samples: Samples, parts: np.ndarray, groups: np.ndarray, lines: list[str]) -> None:
    """Divide what has no part; and where a part is given none at all, take it from the training part."""
    new = np.flatnonzero(parts == '')
    given = {part for part in parts if part}
    if len(new):
        shares = dict(zip(PARTS, SHARES))
        if samples.parts is not None and given:  # a test list and no other: the rest is for training and validation
            shares = {part: share for part, share in shares.items() if part not in given - {'train'}}
        names = list(shares)
        parts[new] = [names[k] for k in _assign(samples, groups, new, list(shares.values()))]
    for part, share in (('val', 1 / 8), ('test', 0.2)):
        if not (parts == part).any():
            training = np.flatnonzero(parts == 'train')
            taken = _assign(samples, groups, training, [1 - share, share])
            parts[training[taken == 1]] = part
            lines.append(f'no {part} part is given: {int((taken == 1).sum())} images of the training part become it')


def _assign(samples: Samples, groups: np.ndarray, places: np.ndarray, shares: list[float]) -> np.ndarray:
    """(n,) parts of the samples in ``places``, which do not depend on the order of the table or the folder."""
    called = samples.images if samples.groups is None else samples.groups
    keys = {}
    for i in places:  # groups that are joined are known by the first name
        keys[groups[i]] = min(keys.get(groups[i], called[i]), called[i])
    names = [hashlib.blake2b(keys[groups[i]].encode(), digest_size=8).hexdigest() for i in places]
    if len(set(names)) < len(shares):
        return np.zeros(len(places), dtype=int)
    order = sorted(range(len(places)), key=lambda i: (names[i], samples.images[places[i]]))
    onehot, groups = samples.onehot[places[order]], np.array([names[i] for i in order])
    found = np.empty(len(places), dtype=int)
    wanted = np.array(shares) / sum(shares) * len(places)
    found[order] = assign_parts(shares, labels=onehot, groups=groups, seed=None)
    if (np.bincount(found, minlength=len(shares)) < wanted / 2).any():
        # most classes have fewer images than would be shared out: one of each for the first part, the rest by number
        first = np.isin(groups, groups[np.unique(onehot.argmax(1), return_index=True)[1]])
        if len(set(groups[~first])) >= len(shares):
            shared = np.zeros(len(places), dtype=int)
            left = np.maximum(wanted - np.eye(len(shares))[0] * first.sum(), 1)
            shared[~first] = assign_parts(left, groups=groups[~first], seed=None)
            found[order] = shared
    return found


def _folds(samples: Samples, groups: np.ndarray, before: dict[str, list[str]], folds: int) -> np.ndarray:
    known = np.full(len(samples), -1)
    for i, image in enumerate(samples.images):
        row = before.get(image, ())
        if 'test' in row:
            known[i] = row.index('test')
    of_group = {group: fold for group, fold in zip(groups.tolist(), known.tolist()) if fold >= 0}
    known = np.array([of_group.get(group, -1) for group in groups.tolist()])
    new = np.flatnonzero(known < 0)
    if len(new):
        known[new] = _assign(samples, groups, new, [1.0] * folds)
    return known


def _by(samples: Samples) -> str:
    return 'whole groups' if samples.groups is not None else 'each image for itself (no group is known)'


def hash_group(name: str, salt: bytes = b'') -> str:
    """What stands for a group in files, which no name of a patient enters. Of few possible ids it can be guessed, but
    not without the salt."""
    return hashlib.blake2b(name.encode(), digest_size=6, key=salt).hexdigest()


def kept_salt(file: Path) -> bytes:
    """Return the random key of 16 bytes in ``file``, which the first call makes."""
    if not file.is_file():
        write_text(file, secrets.token_hex(16) + '\n')
        file.chmod(0o600)
    try:
        salt = bytes.fromhex(file.read_text(encoding='ascii'))
    except ValueError:
        salt = b''
    if len(salt) != 16:
        raise UserError(f'{file} is damaged: remove it; groups get other hashes then, and the training starts again.')
    return salt


def write_samples(file: Path, samples: Samples, columns: dict[str, list[str]], salt: bytes = b'') -> str:
    """samples.csv: image as in the table, file below the root, labels, group (hashed with the salt), subgroups, parts.

    Labels of several are 1, 0 and between, and empty where they are not known. Returns the text.
    """
    labels = samples.classes if samples.multi_label else ['label']
    taken = {'image', 'file', 'group', *columns, *labels}
    for name in samples.subgroups:
        if name in taken:
            raise UserError(f'subgroups: {name!r} is a label or a name of fit itself: rename the column.')
    for name in {'image', 'file', 'group', *columns} & set(labels):
        raise UserError(f'a label is called {name!r}, which fit itself writes: rename it.')
    out = io.StringIO()
    writer = csv.writer(out, lineterminator='\n')
    writer.writerow(['image', 'file', *labels, 'group', *samples.subgroups, *columns])
    for i in range(len(samples)):
        if samples.multi_label:
            values = ['' if v < 0 else f'{v:g}' for v in samples.targets[i].tolist()]
        else:
            values = [samples.classes[samples.targets[i]]]
        group = hash_group(samples.groups[i], salt) if samples.groups is not None else str(i)
        extra = [values[i] for values in (*samples.subgroups.values(), *columns.values())]
        writer.writerow([samples.images[i], samples.files[i], *values, group, *extra])
    write_text(file, out.getvalue())
    return out.getvalue()


def read_parts(file: Path) -> dict[str, list[str]] | None:
    """The parts of an earlier samples.csv by image; of folds all columns."""
    if not file.is_file():
        return None
    with file.open(encoding='utf-8', newline='') as lines:
        rows = list(csv.DictReader(lines))
    if not rows:
        return None
    columns = ['split'] if 'split' in rows[0] else [name for name in rows[0] if name and name.startswith('fold')]
    return {row['image']: [row[name] for name in columns] for row in rows}


def read_earlier(file: str | Path) -> dict[str, list[str]]:
    """The parts of another work directory's samples.csv, by image.

    Raises:
        UserError: for a file that is not there or none of these.
    """
    if not Path(file).is_file():
        raise UserError(f'split={file} does not exist: give a column, or the samples.csv of an earlier call.')
    try:
        parts = read_parts(Path(file))
    except (KeyError, UnicodeDecodeError, csv.Error):
        parts = None
    if not parts or not all(row and set(row) <= set(PARTS) for row in parts.values()):
        raise UserError(f'split={file} is no samples.csv of an earlier call: it needs columns image and split.')
    return parts
