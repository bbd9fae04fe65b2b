"""CSV rows, quartiles and tables."""

import pytest
from helpers import read_csv

from benchmarks.depth import read_last_run
from benchmarks.report import append_rows, provenance, quartiles, text_table


def test_quartiles():
    assert quartiles([4.0, 1.0, 3.0, 2.0, 5.0]) == (2.0, 3.0, 4.0)
    assert quartiles([0.5]) == (0.5, 0.5, 0.5)


def test_rows_are_appended(tmp_path):
    file = tmp_path / 'results' / 'cpu.csv'
    append_rows([dict(name='a, b', seconds=0.123456, peak=None)], file)
    append_rows([dict(name='c', seconds=2.0, peak=7), dict(name='d', seconds=1e-5, peak=8)], file)
    rows = read_csv(file)
    assert [list(row.values()) for row in rows] == [['a, b', '0.1235', ''], ['c', '2', '7'], ['d', '1e-05', '8']]


def test_other_columns_are_refused(tmp_path):
    file = tmp_path / 'cpu.csv'
    append_rows([dict(a=1, b=2)], file)
    with pytest.raises(SystemExit, match=r'other columns.*--csv'):
        append_rows([dict(a=1, c=2)], file)
    assert file.read_text() == 'a,b\n1,2\n'


def test_last_run(tmp_path):
    file = tmp_path / 'depth.csv'
    append_rows([dict(date='1', device='x', n=i) for i in range(2)], file)
    append_rows([dict(date='2', device='x', n=i) for i in range(3)], file)
    assert [row['n'] for row in read_last_run(file)] == ['0', '1', '2']
    with pytest.raises(SystemExit, match='measure first'):
        read_last_run(tmp_path / 'none.csv')


def test_provenance_names_versions():
    import torch

    origin = provenance('cpu', 3)
    assert origin['torch'] == torch.__version__
    assert origin['threads'] == 3
    assert origin['device']


def test_table_is_aligned():
    assert (
        text_table(('name', 'ms'), [('long name', '1'), ('x', '22')]) == 'name       ms\nlong name   1\nx          22'
    )
