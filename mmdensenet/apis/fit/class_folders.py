"""A folder of class folders, with or without train, val and test."""

from pathlib import Path

import numpy as np

from mmdensenet.datasets.class_lists import LEFT_BEHIND, ClassList, require_same_classes
from mmdensenet.datasets.file_index import WORK_DIR_HAS, FileIndex
from mmdensenet.errors import UserError

from .class_names import require_no_typo
from .columns import plain
from .path_groups import group_by_path
from .samples import PART_NAMES, PARTS, Ask, Samples, listed, refuse

#: folders of what belongs to images, as data sets for other tasks have them
NO_CLASSES = ('image', 'images', 'img', 'imgs', 'mask', 'masks', 'label', 'labels', 'annotation', 'annotations')


def read_class_folders(
    root: str, labels: list[str] | None = None, group: str | None = None, ask: Ask = refuse
) -> Samples:
    """The images below ``root``, whose labels are the names of their folders.

    Args:
        labels: the classes, if not all folders are.
        group, ask: see :func:`mmdensenet.apis.fit.path_groups.group_by_path`.

    Raises:
        UserError: for a folder that is not one of class folders, or whose parts have different classes.
    """
    index = FileIndex(root)
    index.files = [
        file for file in index.files if not file.startswith('work_dirs/')
    ]  # of `train`, called in this folder
    folders = sorted(
        path.name
        for path in Path(root).iterdir()
        if path.is_dir()
        and not path.name.startswith('.')
        and path.name not in (*LEFT_BEHIND, 'work_dirs')
        and not (path / WORK_DIR_HAS).exists()
    )
    filled = sorted({file.split('/')[0] for file in index.files if '/' in file})
    parts = {name: PART_NAMES.get(name.lower()) for name in filled}
    given = bool(filled) and all(parts.values())
    if labels is None and not given:
        _refuse_parts_among_classes(root, index.files, parts)
    rows = []
    for file in index.files:
        pieces = file.split('/')
        depth = 1 if given else 0
        if len(pieces) < depth + 2:
            continue  # in no class folder
        rows.append((file, pieces[depth], parts[pieces[0]] if given else ''))
    if not rows:
        raise UserError(_why_none(root, index, folders))
    if labels is not None:
        strange = sorted({name for _, name, _ in rows} - set(labels))
        rows = [row for row in rows if row[1] in labels]
        if not rows:
            raise UserError(f'labels={labels}: {root} has the folders {listed(strange)}, none of these.')
    outside = len(index.files) - len(rows)
    classes = sorted({name for _, name, _ in rows}) if labels is None else list(labels)
    if given and labels is None:
        lists = [
            ClassList(f'the part {part}', tuple(sorted({name for _, name, p in rows if p == part})), f'{root}/{part}')
            for part in PARTS
            if any(p == part for _, _, p in rows)
        ]
        try:
            require_same_classes(lists)
        except UserError as error:
            what, _, advice = str(error).partition('\n')
            if ' add ' in advice:  # to a config
                advice = 'If that is right, name all classes, labels=A,B,C.'
            raise UserError(f'{what} {advice}') from error
    kinds = [name for name in classes if plain(name) in NO_CLASSES]
    if labels is None and kinds and len(classes) - len(kinds) <= 1:
        raise UserError(
            f'{root} has the folders {listed(classes)}, and {kinds[0]!r} is likely no class: give the folder above '
            'class folders, or a table with images=FOLDER; or name the classes, labels=A,B,C.'
        )
    if len(classes) < 2:
        raise UserError(f'{root} has one class folder ({classes[0]}): at least two classes are needed.')
    if len(classes) > max(3, len(rows) / 2):
        raise UserError(
            f'{root} has {len(classes)} folders for {len(rows)} images, so that they are no classes: make a folder per '
            'class, or give a table.'
        )
    counts = {name: sum(1 for row in rows if row[1] == name) for name in classes}
    if labels is None:
        require_no_typo(counts, f'{root}: the folder', 'rename the folder')
    facts = [f'{len(rows)} images in {len(classes)} class folders: {listed(classes)}']
    if given:
        facts.append(f'the parts are given by the folders {listed(filled)}')
    empty = _empty_folders(root, folders, index.files, given)
    if empty and labels is None:
        facts.append(f'no image is in the folder {listed(empty)}: no {"part or " if given else ""}class')
    if index.others:
        facts.append(index.not_read())
    if outside:
        facts.append(f'{outside} images are in no class folder and left out')
    files = [file for file, _, _ in rows]
    samples = Samples(
        root=str(root),
        images=list(files),
        files=files,
        classes=classes,
        targets=np.array([classes.index(name) for _, name, _ in rows]),
        parts=[part for _, _, part in rows] if given else None,
        facts=facts,
    )
    group_by_path(samples, group, 1 + given, ask)
    return samples


def _refuse_parts_among_classes(root: str, files: list[str], parts: dict[str, str | None]) -> None:
    """Raise UserError where train or test would be a class, or would be overlooked below the classes."""
    named = [name for name, part in parts.items() if part]
    if named:
        other = next(name for name, part in parts.items() if not part)
        raise UserError(
            f'{root} has the folder {named[0]!r}, a part, beside {other!r}, which is none: move one of them elsewhere, '
            'or name the classes, labels=A,B,C.'
        )
    inside: dict[str, set[str]] = {}
    for file in files:
        pieces = file.split('/')
        if len(pieces) > 1:
            inside.setdefault(pieces[0], set()).add(pieces[1] if len(pieces) > 2 else '')
    below = set().union(*inside.values()) - {''}
    if len(inside) == 1 and len(below) > 1:  # as archives are unpacked
        (one,) = inside
        raise UserError(
            f'{root} has one folder, {one}, with {listed(sorted(below))} in it: if these are the classes or the parts, '
            f'give {root}/{one}.'
        )
    if below and {name.lower() for name in below} <= set(PART_NAMES):
        raise UserError(
            f'{root} has {listed(sorted(below))} inside the folders of classes: put the classes inside the parts, '
            'train/CLASS, or give a table.'
        )
    if len(below) > 1 and len(inside) > 1 and all(names == below for names in inside.values()):
        raise UserError(
            f'{root} has the same folders, {listed(sorted(below))}, in each of {listed(inside)}: which are the classes '
            'cannot be known. If it is the outer ones, name them, labels=A,B,C; else give a table.'
        )


def _empty_folders(root: str, folders: list[str], files: list[str], given: bool) -> list[str]:
    """Return the folders of classes, and the parts, without an image: a download may have failed."""
    if not given:
        return sorted(set(folders) - {file.split('/')[0] for file in files})
    there = {'/'.join(file.split('/')[:depth]) for file in files for depth in (1, 2)}
    empty = []
    for part in folders:
        if part not in there:
            empty += [part] if part.lower() in PART_NAMES else []
            continue
        classes = [path.name for path in Path(root, part).iterdir() if path.is_dir() and not path.name.startswith('.')]
        empty += [f'{part}/{name}' for name in sorted(classes) if f'{part}/{name}' not in there]
    return empty


def _why_none(root: str, index: FileIndex, folders: list[str]) -> str:
    tables = sorted(p.name for p in Path(root).glob('*') if p.suffix.lower() in ('.csv', '.tsv', '.parquet'))
    if tables:
        return f'{root} has no class folders, but a table: give {root}/{tables[0]}, with images={root} for its files.'
    if index.files:
        return f'{root} has {len(index.files)} images but no class folders: make one per class, or give a table.'
    more = f' {index.not_read()}.' if index.others else ''
    return f'{root} has no images' + (f' in its folders {listed(folders)}.' if folders else '.') + more
