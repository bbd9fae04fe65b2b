"""Rows of a part: what belongs together is in one, and what is likely one is named."""

import pytest

from mmdensenet.datasets.choose_rows import choose_rows, group_names
from mmdensenet.datasets.table import read_table
from mmdensenet.errors import UserError


def table_of(path, rows, header='image,patient'):
    path.write_text('\n'.join([header, *rows]) + '\n')
    return read_table(path)


def parts_of(table, **rule):
    """The rows of both parts."""
    rule.setdefault('fractions', dict(train=0.5, val=0.5))
    return [choose_rows(table, 'image', None, split, None, rule) for split in ('train', 'val')]


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
    assert parts_of(table, seed=0) == [[2, 3, 4, 6, 7], [0, 1, 5, 8, 9]]


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
