"""Rows of a part: what belongs together is in one, and what is likely one is named."""

import numpy as np
import pytest

from mmdensenet.datasets.choose_rows import choose_rows, group_names
from mmdensenet.datasets.table import read_table
from mmdensenet.errors import UserError


def table_of(path, rows, header='image,patient'):
    path.write_text('\n'.join([header, *rows]) + '\n')
    return read_table(path)


def parts_of(table, onehot=None, **rule):
    """The rows of both parts."""
    rule.setdefault('fractions', dict(train=0.5, val=0.5))
    return [choose_rows(table, 'image', onehot, split, None, rule) for split in ('train', 'val')]


def test_rows_of_one_image_stay_together(tmp_path):
    """A row for each box or reader, and one file under several paths."""
    rows = [f'{prefix}{number}.png,' for number in range(6) for prefix in ('a/', './a/', 'a//', 'b/../a/', 'a\\')]
    for folds in (None, 3):
        rule = dict(fractions=None, folds=folds, fold=1) if folds else {}
        train, val = parts_of(table_of(tmp_path / 'a.csv', rows), **rule)
        assert sorted(train + val) == list(range(30)) and train and val
        assert not {i // 5 for i in train} & {i // 5 for i in val}


def test_the_division_of_images_in_one_row_each_is_as_ever(tmp_path):
    table = table_of(tmp_path / 'a.csv', [f'{number}.png,' for number in range(10)])
    assert parts_of(table) == parts_of(table, seed=0) == [[2, 3, 4, 6, 7], [0, 1, 5, 8, 9]]


def test_each_fold_is_for_validation_once_with_its_share_of_each_label(tmp_path):
    table = table_of(tmp_path / 'a.csv', [f'{number}.png,' for number in range(12)])
    onehot = np.zeros((12, 1))
    onehot[:4] = 1
    shares = {}
    for stratify in ({}, dict(stratify=False)):
        parts = [parts_of(table, onehot, fractions=None, folds=4, fold=fold, **stratify) for fold in range(4)]
        assert sorted(row for _, val in parts for row in val) == list(range(12))
        assert all(sorted(train + val) == list(range(12)) for train, val in parts)
        shares[bool(stratify)] = [onehot[val].sum() for _, val in parts]
    assert shares[False] == [1, 1, 1, 1] != shares[True]


@pytest.mark.parametrize('split, rule, message', [
    ('a', dict(fractions=dict(b=1)), "split='a': choose 'b'"),
    ('test', dict(folds=2, fold=0), "split='test': choose 'train', 'val'"),
    ('val', dict(folds=2, fold=2), 'fold from 0'),
    ('val', dict(folds=2, fold=-1), 'fold from 0'),
    ('val', dict(folds='2', fold=0), "folds='2' and fold=0: give whole numbers"),
    ('val', dict(folds=2, fold=0.0), 'folds=2 and fold=0.0: give whole numbers'),
    ('val', dict(folds=2), 'give fractions, or folds and fold'),
    ('val', dict(), 'give fractions, or folds and fold'),
    ('val', dict(fractions=dict(val=1), folds=2, fold=0), 'give fractions, or folds and fold'),
    ('val', dict(fractions=dict(val=1), fold=0), 'give fractions, or folds and fold'),
    ('val', dict(fractions=dict(val=1), groups='patient'), 'beside them group, stratify and seed'),
])  # fmt: skip
def test_rules_that_are_none(tmp_path, split, rule, message):
    table = table_of(tmp_path / 'a.csv', ['a.png,', 'b.png,'])
    with pytest.raises(UserError, match=message):
        choose_rows(table, 'image', None, split, None, rule)


def test_an_image_of_two_patients(tmp_path):
    table = table_of(tmp_path / 'a.csv', ['a.png,P1', 'b.png,P2', './a.png,P2'])
    with pytest.raises(UserError, match=r"row 4: a\.png is of patient 'P2', and of 'P1' in row 2: it would be in two"):
        parts_of(table, group='patient')
    table = table_of(tmp_path / 'b.csv', ['a.png,P1', 'b.png,P2', './a.png,'])
    with pytest.raises(UserError, match=r"row 4: a\.png is of patient none, and of 'P1' in row 2: it would be in two"):
        parts_of(table, group='patient')


def test_two_rows_of_an_image_without_a_patient_are_in_one_part(tmp_path):
    rows = [f'{number}.png,' for number in range(6)] + [f'./{number}.png,NA' for number in range(6)]
    for part in parts_of(table_of(tmp_path / 'a.csv', rows), group='patient'):
        assert part and {row % 6 for row in part} == {row - 6 for row in part if row > 5}


def test_groups_are_numbers_and_rows_without_one_are_alone(tmp_path):
    table = table_of(tmp_path / 'a.csv', ['a.png,1', 'b.png,1.0', 'c.png,', 'd.png,NA', 'e.png,2'])
    assert group_names(table, 'patient') == ['1', '1', 'row 4', 'row 5', '2']
    train, val = parts_of(table, group='patient')
    assert {0, 1} <= set(train) or {0, 1} <= set(val)


@pytest.mark.parametrize('pair', [('P7', 'p7'), ('007', '7'), ('P007', 'P7')])
def test_groups_that_are_likely_one(tmp_path, pair):
    table = table_of(tmp_path / 'a.csv', [f'{i}.png,{name}' for i, name in enumerate(pair)])
    with pytest.raises(UserError, match=f"'patient' has '{pair[0]}' and '{pair[1]}', which are likely one"):
        group_names(table, 'patient')


def test_parts_that_are_spelt_otherwise(tmp_path):
    table = table_of(tmp_path / 'a.csv', ['a.png,train', 'b.png,Train'], 'image,split')
    with pytest.raises(UserError, match="'split' has 'Train' beside split='train'"):
        choose_rows(table, 'image', None, 'train', 'split', None)
    assert choose_rows(table, 'image', None, None, None, None) == [0, 1]
    table = table_of(tmp_path / 'b.csv', ['a.png,val', 'b.png,train', 'c.png,val'], 'image,split')
    assert choose_rows(table, 'image', None, 'val', 'split', None) == [0, 2]
