"""Images and labels listed in a CSV file."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from mmpretrain.datasets import BaseDataset

from mmdensenet.errors import UserError
from mmdensenet.registry import DATASETS

from .choose_rows import choose_rows, group_names
from .labels import POSITIVE_ABOVE
from .spelling import apart, look_alike, two_spellings
from .stated_classes import class_names
from .table import ImageFinder, Table, canonical, is_missing, number_of, portable_path, read_table

#: what a multi-label target is for a label that is not known; losses and metrics of ours leave it out
UNKNOWN = -1.0
POLICIES = {'positive': 1.0, 'negative': 0.0, 'ignore': UNKNOWN}


@DATASETS.register_module()
class CSVDataset(BaseDataset):
    """One row per image: its path, and one column with its class or one column per label.

    In columns per label, 1 (or True) is positive, 0 (or False) negative, -1 uncertain, and an empty field (or NaN, NA,
    null, None) missing. What is between 0 and 1 is a soft label: MaskedBCELoss trains on it as it is. Where labels are
    counted, stratified or ranked (AUROC), it is positive above 0.5.
    What uncertain and missing labels count as is to be said, as it changes results: 'positive', 'negative', or
    'ignore'. In one column of classes a row whose class is missing can only be left out ('ignore').

    Args:
        ann_file: the table, with a header, below ``data_root``: CSV with any usual delimiter and encoding, TSV or
            Parquet, see :func:`mmdensenet.datasets.table.read_table`.
        image_column: the column of paths, below ``data_prefix``. Names without an ending are looked for there.
        label_column: single-label: the column of classes, names or numbers (1.0 is 1).
        label_columns: multi-label: the columns of labels; give either this or ``label_column``.
        separator: multi-label in one column: what stands between the labels of ``label_column``, such as '|'.
        no_label: with ``separator``, what stands in the column for none of the labels, such as 'No Finding'.
        classes: single-label: the names, in the order of the labels; by default all that occur, sorted (numbers by
            value). Multi-label it is ``label_columns``.
        with_label: False for images without labels, whose table needs no column of them. ``label_columns`` or
            ``classes`` still name what is predicted.
        uncertain, missing: what -1 and empty fields count as. Without one a file that has them is refused.
        split_column, split: take the rows whose ``split_column`` is ``split``; a number, such as that of a fold, is
            compared as 1 for 1.0.
        split_by: divide the rows without such a column. A dict with ``fractions`` (part names to shares, such as
            ``dict(train=0.8, val=0.2)``; ``split`` is the part to take), or with ``folds`` and ``fold`` (``split`` is
            'train' or 'val', the fold); and with ``group`` (a column such as the patient, whose rows stay together),
            ``stratify`` (equal shares of each label; True by default) and ``seed`` (0).
            Rows of one image are in one part.
        group_column: samples get this column's text as ``group``, as metrics that resample patients need it; by default
            that of ``split_by``. A row without one is a group for itself, 'row N of FILE'.
        slice_column: the column with the number of the slice, from 0, where ``image_column`` names volumes; samples get
            it as ``slice``, which :class:`LoadGreyImage` takes.

    Samples have ``gt_label`` (single-label), or ``gt_score``: (L,) float32 from 0 to 1, and -1 for what is ignored.
    Without labels they have neither.

    Raises:
        UserError: naming file, row and column of what cannot be used.
    """

    def __init__(
        self,
        ann_file: str,
        *,
        image_column: str = 'image',
        label_column: str | None = None,
        label_columns: Sequence[str] | None = None,
        separator: str | None = None,
        no_label: str | None = None,
        with_label: bool = True,
        uncertain: str | None = None,
        missing: str | None = None,
        split_column: str | None = None,
        split: str | int | None = None,
        split_by: dict | None = None,
        group_column: str | None = None,
        slice_column: str | None = None,
        classes: Sequence[str] | str | None = None,
        **kwargs,
    ):
        if (label_column is None) == (label_columns is None) and (with_label or label_column is not None):
            raise UserError(
                'CSVDataset: give label_column (one class per image) or label_columns (several labels); '
                'with_label=False for images without labels.'
            )
        for key, policy in (('uncertain', uncertain), ('missing', missing)):
            if policy is not None and policy not in POLICIES:
                raise UserError(f'dataset.{key}={policy!r}: choose {", ".join(map(repr, POLICIES))}')
        if split_column is not None and split_by is not None:
            raise UserError('CSVDataset: give split_column or split_by, not both.')
        if (split_column is not None or split_by is not None) and split is None:
            raise UserError('CSVDataset: say with split which part of the rows to take.')
        if split is not None and split_column is None and split_by is None:
            raise UserError(f'dataset.split={split!r} needs split_column or split_by.')
        for key, given in (('split', split), ('separator', separator), ('no_label', no_label)):
            if isinstance(given, (list, tuple, dict)) or (key == 'separator' and given == ''):
                raise UserError(f'dataset.{key}={given!r}: give one text.')
        self.image_column = image_column
        self.label_column = label_column
        label_columns = [label_columns] if isinstance(label_columns, str) else label_columns
        self.label_columns = None if label_columns is None else list(label_columns)
        if separator is not None and label_column is None:
            raise UserError(f'dataset.separator={separator!r} divides the labels of label_column: give that.')
        self.separator, self.no_label, self.with_label = separator, no_label, with_label
        self.policies = dict(uncertain=uncertain, missing=missing)
        self.split_column, self.split_by = split_column, split_by
        self.split = split if split_column is None else str(split)  # a fold is a number
        self.group_column = group_column or (split_by or {}).get('group')
        self.slice_column = slice_column
        if self.label_columns is not None:
            stated = class_names(classes or (kwargs.get('metainfo') or {}).get('classes'))
            if stated is not None and stated != self.label_columns:
                raise UserError(
                    f'CSVDataset: label_columns are {self.label_columns}, and classes {stated}: leave classes out.'
                )
            classes = self.label_columns
        super().__init__(ann_file=ann_file, classes=classes, **kwargs)

    def load_data_list(self) -> list[dict]:
        table = read_table(self.ann_file)
        group = (self.split_by or {}).get('group')
        labels = [self.label_column, *(self.label_columns or ())] if self.with_label else []
        table.require(self.image_column, *labels, self.split_column, group, self.group_column, self.slice_column)
        for index, row in enumerate(table.rows):
            if not row[self.image_column]:
                raise UserError(f'{table.where(index)}: no path in {self.image_column!r}.')
        if not self.with_label:
            targets, onehot = [{} for _ in table.rows], None
        elif self.separator is None and self.label_columns is None:
            targets, onehot = self._single(table)
        else:
            scores = self._scores(table) if self.separator is None else self._listed(table)
            targets, onehot = [dict(gt_score=score) for score in scores], (scores > POSITIVE_ABOVE).astype(float)
        find = ImageFinder(self.img_prefix or '')
        samples = []
        names = None if self.group_column is None else group_names(table, self.group_column)
        for i, row in enumerate(table.rows if names else ()):
            if is_missing(row[self.group_column]):
                names[i] += f' of {table.file}'  # another table has such a row, too
        for i in choose_rows(table, self.image_column, onehot, self.split, self.split_column, self.split_by):
            if targets[i] is None:
                continue
            row = table.rows[i]
            try:
                path = portable_path(row[self.image_column])
            except UserError as error:
                raise UserError(f'{table.where(i)}: {error}') from error
            group = {} if names is None else dict(group=names[i])
            place = {} if self.slice_column is None else dict(slice=_slice(table, i, row[self.slice_column]))
            samples.append(dict(img_path=find(path), **targets[i], **group, **place))
        if not samples:
            raise UserError(f'{self.ann_file}: no rows for split={self.split!r}.')
        return samples

    def _single(self, table: Table) -> tuple[list[dict | None], np.ndarray]:
        """Each row's label, None for one without, and (N, classes) of 0 and 1."""
        names = [canonical(row[self.label_column]) for row in table.rows]
        stated = self._metainfo.get('classes')
        known = [self._has_class(table, i, name, stated) for i, name in enumerate(names)]
        found = sorted({name for name, there in zip(names, known) if there}, key=by_value)
        if stated is None:
            self._refuse_lists(table, names, found)
            self._require_one_spelling(table, found, names.index)
        classes = self._metainfo.setdefault('classes', tuple(found))
        numbers = {canonical(str(name)): number for number, name in enumerate(classes)}
        if len(numbers) < len(classes):
            raise UserError(f'CSVDataset: of the classes {", ".join(map(repr, classes))} two are the same in a table.')
        unknown = next((i for i, name in enumerate(names) if known[i] and name not in numbers), None)
        if unknown is not None:
            raise UserError(
                f'{table.where(unknown)}: {self.label_column} is {names[unknown]!r}, which is none of the classes '
                f'{", ".join(map(repr, classes))}.'
            )
        targets = [dict(gt_label=numbers[name]) if there else None for name, there in zip(names, known)]
        onehot = np.zeros((len(names), len(classes)))
        for i, target in enumerate(targets):
            if target is not None:
                onehot[i, target['gt_label']] = 1
        return targets, onehot

    def _has_class(self, table: Table, index: int, name: str, stated: Sequence[str] | None) -> bool:
        """Whether a row has a class; a missing one, and -1 where it is no class that is stated, has none."""
        if stated is not None and name in map(str, stated):
            return True
        key = 'missing' if is_missing(name) else 'uncertain' if name == '-1' else None
        if key is None:
            return True
        if self.policies[key] != 'ignore':
            hint = f' If {name} is a class, say so: dataset.classes.' if name else ''
            raise UserError(
                f'{table.where(index)}: the {self.label_column} {name!r} is {key}: leave such rows out with '
                f"dataset.{key}='ignore'.{hint}"
            )
        return False

    def _refuse_lists(self, table: Table, names: list[str], found: list[str]) -> None:
        """'a|b' beside 'a' or 'b' is a list of labels, not a class of its own."""
        listed = next((name for name in found if '|' in name), None)
        if listed is not None:
            raise UserError(
                f'{table.where(names.index(listed))}: {self.label_column} {listed!r} lists several labels: give '
                "dataset.separator='|' and dataset.classes, and no_label for what means none."
            )

    def _require_one_spelling(self, table: Table, found: Iterable[str], row_of: Callable[[str], int]) -> None:
        """Cat and cat are one class, unless both are stated."""
        pair = two_spellings(found)
        if pair is not None:
            codes = f' ({apart(*pair)})' if look_alike(*pair) else ''
            raise UserError(
                f'{table.where(row_of(pair[0]))}: {self.label_column} {pair[0]!r} is likely {pair[1]!r}{codes}: write '
                'both alike, or name all classes if they are two, dataset.classes.'
            )

    def _listed(self, table: Table) -> np.ndarray:
        """(N, L) float32 of 1 and 0, of a column that lists the labels that are there; UNKNOWN where it is empty."""
        cells = [split_labels(row[self.label_column], self.separator) for row in table.rows]
        stated = self._metainfo.get('classes') or ()
        no_class = {self.no_label} | ({'-1'} - set(map(str, stated)))
        found = {name for parts in cells for name in parts if not is_missing(name) and name not in no_class}
        if not stated:
            self._require_one_spelling(table, found, lambda name: next(i for i, row in enumerate(cells) if name in row))
        classes = self._metainfo.setdefault('classes', tuple(sorted(found)))
        scores = np.zeros((len(cells), len(classes)), np.float32)
        for i, parts in enumerate(cells):
            for name in parts:
                if is_missing(name):
                    scores[i] = self._policy('missing', f'{table.where(i)}, column {self.label_column!r}')
                elif name in classes:
                    scores[i, classes.index(name)] = 1
                elif parts == ['-1']:
                    scores[i] = self._policy('uncertain', f'{table.where(i)}, column {self.label_column!r}')
                elif name != self.no_label:
                    raise UserError(
                        f'{table.where(i)}: {self.label_column} has {name!r}, which is neither no_label nor one of the '
                        f'classes {", ".join(map(repr, classes))}.'
                    )
        return scores

    def get_cat_ids(self, idx: int) -> list[int]:
        """The class, or the positive labels."""
        info = self.get_data_info(idx)
        return (
            [info['gt_label']] if 'gt_score' not in info else np.flatnonzero(info['gt_score'] > POSITIVE_ABOVE).tolist()
        )

    def counts(self) -> np.ndarray:
        """(L, 2): how many samples of each class or label are positive, and how many negative; unknown is neither."""
        infos = [self.get_data_info(i) for i in range(len(self))]
        if 'gt_label' in infos[0]:
            positive = np.bincount([info['gt_label'] for info in infos], minlength=len(self.CLASSES))
            return np.stack([positive, len(infos) - positive], 1)
        scores = np.stack([info['gt_score'] for info in infos])
        positive = scores > POSITIVE_ABOVE
        return np.stack([positive.sum(0), ((scores >= 0) & ~positive).sum(0)], 1)

    def positive_weights(self) -> list[float]:
        """Negatives per positive of each label, for the loss's ``pos_weight``; 1 for labels that never occur."""
        return [float(negative / positive) if positive else 1.0 for positive, negative in self.counts()]

    def class_weights(self) -> list[float]:
        """Inverse frequencies of the classes with a mean of 1 over the samples, for the loss's ``class_weight``."""
        positive = self.counts()[:, 0]
        there = int((positive > 0).sum())
        return [float(positive.sum() / (there * n)) if n else 0.0 for n in positive]

    def _scores(self, table: Table) -> np.ndarray:
        """(N, L) float32 from 0 to 1, and UNKNOWN."""
        scores = np.empty((len(table.rows), len(self.label_columns)), np.float32)
        for i, row in enumerate(table.rows):
            for j, column in enumerate(self.label_columns):
                scores[i, j] = self._score(row[column], f'{table.where(i)}, column {column!r}')
        return scores

    def _score(self, text: str, where: str) -> float:
        if is_missing(text):
            return self._policy('missing', where)
        value = number_of(text)
        if 0 <= value <= 1:
            return value
        if value != -1:
            raise UserError(f'{where}: {text!r} is none of 1, 0, -1 (uncertain), 0 to 1 (soft) and empty (missing).')
        return self._policy('uncertain', where)

    def _policy(self, key: str, where: str) -> float:
        if self.policies[key] is None:
            raise UserError(
                f"{where} is {key}: say what that counts as, dataset.{key}='positive', 'negative' or 'ignore'."
            )
        return POLICIES[self.policies[key]]

    def extra_repr(self) -> list[str]:
        return [*super().extra_repr(), f'Split: \t{self.split or "all rows"}']


def _slice(table: Table, index: int, text: str) -> int:
    try:
        return int(canonical(text)) if not text.startswith('-') else int('')
    except ValueError:
        raise UserError(f'{table.where(index)}: the slice {text!r} is no whole number from 0.') from None


def split_labels(text: str, separator: str) -> list[str]:
    """The labels of ``a|b``; what is empty between or behind separators is none. One empty text if nothing is there."""
    parts = [part.strip() for part in text.split(separator)]
    return [part for part in parts if not is_missing(part)] or [parts[0]]


def by_value(name: str) -> tuple:
    return (0, float(name), name) if _is_number(name) else (1, 0.0, name)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
