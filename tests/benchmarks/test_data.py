"""A dry run of the benchmark of data loaders: rows, ratios, steps, and the status when a target is missed."""

import sys
import time

import pytest
from helpers import read_csv

from benchmarks import data, photographs


def test_rows_ratios_and_status(monkeypatch, tmp_path, capsys):
    file = tmp_path / 'rows.csv'
    size = ['--images', '8', '--batch', '4', '--rounds', '1', '--kind', 'small', '--candidates', *data.CANDIDATES[:2]]
    monkeypatch.setattr(sys, 'argv', ['data', *size, '--one-process', '--csv', str(file)])
    monkeypatch.setattr(data, 'TARGETS', dict(train=1e-9, test=1e9))
    with pytest.raises(SystemExit) as stop:
        data.main()
    assert stop.value.code == 1
    rows = read_csv(file)
    assert {(row['mode'], row['candidate']) for row in rows} >= {
        (mode, name) for mode in ('train', 'test') for name in (data.OURS, data.BASELINE, data.LIMIT)
    }
    assert all(float(row['ms_median']) > 0 and int(row['bytes']) > 0 for row in rows)
    out = capsys.readouterr().out
    assert (
        'small, test: ' in out.partition('Below the targets')[2] and 'small, train: ' not in out.partition('Below')[2]
    )
    assert 'LoadImage ' in out and 'LoadImageFromFile ' in out


@pytest.mark.parametrize('own_process', [True, False])
@pytest.mark.parametrize('name', [*data.CANDIDATES, data.LIMIT])
def test_who_keeps_freed_memory(name, own_process, monkeypatch, tmp_path):
    """Ours as its command does; this process is left alone where all share it."""
    kept, frozen = [], []
    monkeypatch.setattr('mmdensenet_cli.memory.keep_freed_memory', lambda: kept.append(name))
    monkeypatch.setattr('gc.freeze', lambda: frozen.append(name))
    monkeypatch.setattr(data, 'reader', lambda *args: print)
    workload = data.prepare(name, 'small', 'test', tmp_path, 4, own_process)
    assert kept == [name] * (own_process and name in (data.OURS, data.KEEPING, data.LIMIT))
    assert frozen == [name] * (own_process and name == data.OURS)
    assert workload.clock is time.process_time


def test_a_ratio_is_that_of_rounds_side_by_side():
    taken = {data.BASELINE: [2.0, 30.0, 4.0], data.OURS: [1.0, 10.0, 1.0]}
    assert data.ratio(taken, data.OURS) == 3.0 and data.ratio(taken, data.BASELINE) == 1.0


def test_images_are_made_where_there_are_none(tmp_path):
    import cv2

    bytes_each, what = photographs.write_images('photographs', 2, tmp_path, sources=())
    files = sorted(tmp_path.glob('*/*.jpg'))
    assert len(files) == 2 and cv2.imread(str(files[0])).shape == (375, 500, 3)
    assert bytes_each > 10_000 and what.startswith('made')
