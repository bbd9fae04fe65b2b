"""Which files the rows of a table mean, rows that say the same, and lists of parts beside it."""

import numpy as np
import pytest

from mmdensenet.apis.fit.table_rows import files_of_rows, list_files, merge_rows
from mmdensenet.datasets.file_index import FileIndex
from mmdensenet.datasets.table import Table
from mmdensenet.errors import UserError


def table_of(*texts: str, **columns: list[str]) -> Table:
    rows = [dict(image=text, **{name: values[i] for name, values in columns.items()}) for i, text in enumerate(texts)]
    return Table('t.csv', ['image', *columns], rows, list(range(2, 2 + len(rows))))


@pytest.fixture
def index(tmp_path):
    for name in (*(f'a/{i}.png' for i in range(12)), 'b/0.png'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    return FileIndex(tmp_path)


def test_files_of_rows(index):
    table = table_of('a/0.png', '3', 'a/0.png', *map(str, range(4, 12)), 'gone')
    files, absent = files_of_rows(table, 'image', index, None)
    assert files == ['a/0.png', 'a/3.png', 'a/0.png', *(f'a/{i}.png' for i in range(4, 12)), None]
    assert absent == [dict(image='gone', where='row 13')]


@pytest.mark.parametrize(
    ('texts', 'message'),
    [
        (['a/0.png', ''], r"^t\.csv, row 3: no path in 'image'"),
        (['a/3.png', '3'], r'^t\.csv, row 3: 3 and a/3\.png are both a/3\.png: write the folders'),
        (['3', 'gone'], r'^t\.csv: 1 of 2 images are not below .*, such as gone \(row 3\): give their folder'),
        (['no', 'gone'], r'^t\.csv: 2 of 2 images are not below .*, such as no \(row 2\): give their folder'),
        (['3', '0'], r'^t\.csv, row 3: .*a/0\.png'),
    ],
)
def test_rows_that_mean_no_file_or_one_twice(index, texts, message):
    with pytest.raises(UserError, match=message):
        files_of_rows(table_of(*texts), 'image', index, None)


def test_rows_that_repeat_an_image_say_the_same_of_it():
    files, targets = ['x', 'y', 'x', 'z'], [np.array([1, 0]), np.array([0, 0]), np.array([1, 0]), np.array([1, 1])]
    table = table_of(*'abcd', sex=['F', 'M', 'F', 'M'])
    assert merge_rows(table, [0, 1, 2], files, targets, ['sex']) == ([0, 1], 1)
    table.rows[2]['sex'] = 'M'
    with pytest.raises(UserError, match=r"t\.csv, row 4: x has 'sex' 'M', and 'F' in row 2"):
        merge_rows(table, [0, 1, 2], files, targets, ['sex'])
    targets[2] = np.array([0, 0])
    with pytest.raises(UserError, match=r't\.csv, row 4: x has other labels than in row 2'):
        merge_rows(table, [0, 1, 2], files, targets, ['sex'])


def test_lists_of_parts(index, tmp_path):
    assert list_files(str(tmp_path / 't.csv'), index) is None
    (tmp_path / 'train_val_list.txt').write_text('1.png\n2.png\n\nnot there\n')
    (tmp_path / 'test-images.txt').write_text('3.png\n')
    (tmp_path / 'val.txt').write_text('nothing\nof\nthis\n5.png\n')  # one of four
    (tmp_path / 'notes.txt').write_text('4.png\n')
    files, parts = list_files(str(tmp_path / 't.csv'), index)
    assert sorted(files) == ['test-images.txt', 'train_val_list.txt']
    assert parts == {'a/1.png': 'train', 'a/2.png': 'train', 'a/3.png': 'test'}
    (tmp_path / 'test-images.txt').write_text('2.png\n')
    with pytest.raises(UserError, match=r'a/2\.png is in the list of (test|train) and of (test|train)'):
        list_files(str(tmp_path / 't.csv'), index)
