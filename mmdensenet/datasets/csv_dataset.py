"""Images and labels listed in a CSV file."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmpretrain.datasets import BaseDataset

from mmdensenet.errors import UserError
from mmdensenet.registry import DATASETS

from .splits import assign_parts

#: what a multi-label target is for a label that is not known; losses and metrics of ours leave it out
UNKNOWN = -1.0
POLICIES = {'positive': 1.0, 'negative': 0.0, 'ignore': UNKNOWN}


@DATASETS.register_module()
class CSVDataset(BaseDataset):
    """One row per image: its path, and one column with its class or one column per label.

    In columns per label, 1 is positive, 0 negative, -1 uncertain, and an empty field missing. What uncertain and
    missing labels count as is to be said, as it changes results: 'positive', 'negative', or 'ignore'.

    Args:
        ann_file: the CSV file, with a header, below ``data_root``.
        image_column: the column of paths, below ``data_prefix``.
        label_column: single-label: the column of classes, names or numbers.
        label_columns: multi-label: the columns of labels; give either this or ``label_column``.
        classes: single-label: the names, in the order of the labels; by default all that occur, sorted (numbers by
            value). Multi-label it is ``label_columns``.
        uncertain, missing: what -1 and empty fields count as. Without one a file that has them is refused.
        split_column, split: take the rows whose ``split_column`` is ``split``.
        split_by: divide the rows without such a column. A dict with ``fractions`` (part names to shares, such as
            ``dict(train=0.8, val=0.2)``; ``split`` is the part to take), or with ``folds`` and ``fold`` (``split`` is
            'train' or 'val', the fold); and with ``group`` (a column such as the patient, whose rows stay together),
            ``stratify`` (equal shares of each label; True by default) and ``seed`` (0).
        group_column: samples get this column's text as ``group``, as metrics that resample patients need it; by default
            that of ``split_by``.

    Samples have ``gt_label`` (single-label), or ``gt_score``: (L,) float32 of 1, 0 and -1 for what is ignored.

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
        uncertain: str | None = None,
        missing: str | None = None,
        split_column: str | None = None,
        split: str | None = None,
        split_by: dict | None = None,
        group_column: str | None = None,
        classes: Sequence[str] | str | None = None,
        **kwargs,
    ):
        if (label_column is None) == (label_columns is None):
            raise UserError('CSVDataset: give label_column (one class per image) or label_columns (several labels).')
        for key, policy in (('uncertain', uncertain), ('missing', missing)):
            if policy is not None and policy not in POLICIES:
                raise UserError(f'dataset.{key}={policy!r}: choose {", ".join(map(repr, POLICIES))}')
        if split_column is not None and split_by is not None:
            raise UserError('CSVDataset: give split_column or split_by, not both.')
        if (split_column is not None or split_by is not None) and split is None:
            raise UserError('CSVDataset: say with split which part of the rows to take.')
        if split is not None and split_column is None and split_by is None:
            raise UserError(f'dataset.split={split!r} needs split_column or split_by.')
        self.image_column = image_column
        self.label_column = label_column
        self.label_columns = None if label_columns is None else list(label_columns)
        self.policies = dict(uncertain=uncertain, missing=missing)
        self.split_column, self.split, self.split_by = split_column, split, split_by
        self.group_column = group_column or (split_by or {}).get('group')
        if self.label_columns is not None:
            classes = self.label_columns
        super().__init__(ann_file=ann_file, classes=classes, **kwargs)

    def load_data_list(self) -> list[dict]:
        rows = self._read()
        if self.label_columns is None:
            names = [row[self.label_column].strip() for row in rows]
            self._check_names(names)
            targets = [dict(gt_label=self._metainfo['classes'].index(name)) for name in names]
            onehot = np.eye(len(self._metainfo['classes']))[[target['gt_label'] for target in targets]]
        else:
            scores = self._scores(rows)
            targets = [dict(gt_score=score) for score in scores]
            onehot = (scores == 1).astype(float)
        samples = []
        for i in self._chosen(rows, onehot):
            path = rows[i][self.image_column].strip()
            group = {} if self.group_column is None else dict(group=rows[i][self.group_column].strip())
            samples.append(dict(img_path=str(Path(self.img_prefix or '', path)), **targets[i], **group))
        if not samples:
            raise UserError(f'{self.ann_file}: no rows for split={self.split!r}.')
        return samples

    def get_cat_ids(self, idx: int) -> list[int]:
        """The class, or the positive labels."""
        info = self.get_data_info(idx)
        return [info['gt_label']] if 'gt_label' in info else np.flatnonzero(info['gt_score'] == 1).tolist()

    def counts(self) -> np.ndarray:
        """(L, 2): how many samples of each class or label are positive, and how many negative; unknown is neither."""
        infos = [self.get_data_info(i) for i in range(len(self))]
        if self.label_columns is None:
            positive = np.bincount([info['gt_label'] for info in infos], minlength=len(self.CLASSES))
            return np.stack([positive, len(infos) - positive], 1)
        scores = np.stack([info['gt_score'] for info in infos])
        return np.stack([(scores == 1).sum(0), (scores == 0).sum(0)], 1)

    def positive_weights(self) -> list[float]:
        """Negatives per positive of each label, for the loss's ``pos_weight``; 1 for labels that never occur."""
        return [float(negative / positive) if positive else 1.0 for positive, negative in self.counts()]

    def class_weights(self) -> list[float]:
        """Inverse frequencies of the classes with a mean of 1 over the samples, for the loss's ``class_weight``."""
        positive = self.counts()[:, 0]
        there = int((positive > 0).sum())
        return [float(positive.sum() / (there * n)) if n else 0.0 for n in positive]

    def _read(self) -> list[dict]:
        try:
            with open(self.ann_file, newline='', encoding='utf-8-sig') as file:
                reader = csv.DictReader(file)
                header = reader.fieldnames or []
                rows = list(reader)
        except FileNotFoundError as error:
            raise UserError(f'{self.ann_file} does not exist: set dataset.ann_file.') from error
        except (UnicodeDecodeError, csv.Error) as error:
            raise UserError(f'{self.ann_file} is not a CSV file in UTF-8: {error}.') from error
        group = (self.split_by or {}).get('group')
        labels = [self.label_column, *(self.label_columns or ())]
        wanted = [self.image_column, *labels, self.split_column, group, self.group_column]
        lacking = [column for column in wanted if column is not None and column not in header]
        if lacking:
            raise UserError(f'{self.ann_file} has no column {lacking[0]!r}. It has {", ".join(map(repr, header))}.')
        for number, row in enumerate(rows, 2):
            if any(row[column] is None for column in header) or not row[self.image_column].strip():
                raise UserError(f'{self.ann_file}, row {number}: too few fields, or no path in {self.image_column!r}.')
        return rows

    def _check_names(self, names: list[str]) -> None:
        found = sorted(set(names), key=lambda name: (0, float(name), '') if _is_number(name) else (1, 0.0, name))
        classes = self._metainfo.setdefault('classes', tuple(found))
        unknown = [name for name in found if name not in classes]
        if unknown:
            row = names.index(unknown[0]) + 2
            raise UserError(
                f'{self.ann_file}, row {row}: {self.label_column} is {unknown[0]!r}, which is none of the classes '
                f'{", ".join(map(repr, classes))}.'
            )

    def _scores(self, rows: list[dict]) -> np.ndarray:
        """(N, L) float32 of 1, 0 and UNKNOWN."""
        scores = np.empty((len(rows), len(self.label_columns)), np.float32)
        for i, row in enumerate(rows):
            for j, column in enumerate(self.label_columns):
                scores[i, j] = self._score(row[column].strip(), column, i + 2)
        return scores

    def _score(self, text: str, column: str, row: int) -> float:
        try:
            value = float(text) if text else None
        except ValueError:
            value = text
        if value in (0, 1):
            return value
        key = 'missing' if value is None else 'uncertain' if value == -1 else None
        where = f'{self.ann_file}, row {row}, column {column!r}'
        if key is None:
            raise UserError(f'{where}: {text!r} is none of 1, 0, -1 (uncertain) and empty (missing).')
        if self.policies[key] is None:
            raise UserError(
                f"{where} is {key}: say what that counts as, dataset.{key}='positive', 'negative' or 'ignore'."
            )
        return POLICIES[self.policies[key]]

    def _chosen(self, rows: list[dict], onehot: np.ndarray) -> list[int]:
        if self.split_column is not None:
            return [i for i, row in enumerate(rows) if row[self.split_column].strip() == self.split]
        if self.split_by is None:
            return list(range(len(rows)))
        rule = dict(self.split_by)
        group, stratify, seed = rule.pop('group', None), rule.pop('stratify', True), rule.pop('seed', 0)
        folds, fold, fractions = rule.pop('folds', None), rule.pop('fold', None), rule.pop('fractions', None)
        if rule or (folds is None) == (fractions is None) or (folds is None) != (fold is None):
            raise UserError(
                'dataset.split_by: give fractions, or folds and fold; beside them group, stratify and seed.'
            )
        names = list(fractions) if folds is None else ['train', 'val']
        if self.split not in names or (folds is not None and not 0 <= fold < folds):
            raise UserError(
                f'dataset.split={self.split!r}: choose {", ".join(map(repr, names))}; fold from 0 to folds - 1.'
            )
        parts = assign_parts(
            [1] * folds if folds is not None else list(fractions.values()),
            labels=onehot if stratify else None,
            groups=None if group is None else [row[group].strip() for row in rows],
            count=len(rows),
            seed=seed,
        )
        if folds is not None:
            chosen = parts == fold if self.split == 'val' else parts != fold
        else:
            chosen = parts == names.index(self.split)
        return np.flatnonzero(chosen).tolist()

    def extra_repr(self) -> list[str]:
        return [*super().extra_repr(), f'Split: \t{self.split or "all rows"}']


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
