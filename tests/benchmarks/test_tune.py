"""The search of tiles in its dry form, and the table made from measurements."""

import csv
import json
import sys

import pytest
from helpers import read_csv

pytest.importorskip('triton')

from benchmarks.tune import measured_launches
from benchmarks.tune_cases import KERNELS, cases, tiles
from benchmarks.tune_table import write_table


@pytest.mark.slow
def test_search_in_the_interpreter(run_command, tmp_path):
    """Tiles compile in another process for a GPU and run in the interpreter."""
    file = tmp_path / 'tiles.csv'
    command = sys.executable, '-m', 'benchmarks.tune', '--dry', '--kernels', 'norm_relu', '--processes', '1'
    outcome = run_command(*command, '--out', file)
    assert outcome.status == 0, outcome.err
    assert 'Error' not in outcome.out, outcome.out
    rows = read_csv(file)
    assert len({row['launch'] for row in rows}) == 2
    for row in rows:
        assert row['usable'] == '1' and float(row['error']) < 4e-3 and float(row['microseconds']) > 0
        assert row['kernel'] == 'norm_relu' and json.loads(row['tile'])['BLOCK_M'] > 0
    assert any(row['registers'] and row['stack'] == '0' for row in rows)
    assert {str(case) for case in cases('norm_relu', dry=True)} == measured_launches(file), 'nothing is left to do'
    table = tmp_path / 'tiles.json'
    write_table(file, table)
    assert len(json.loads(table.read_text())['cpu']['norm_relu']) == 2


def test_table_from_measurements(tmp_path):
    """The fastest usable tile by 2 % or more, else the rule's; other shapes and GPUs of the table stay."""
    columns = ['chip', 'kernel', 'rows', 'columns', 'channels', 'bytes', 'aligned', 'tile', 'microseconds', 'usable']

    def row(kernel, rows, tile, microseconds, usable=1):
        values = '9.0', kernel, rows, 32, 128, 2, True, json.dumps(tile), microseconds, usable
        return dict(zip(columns, values))

    rows = [
        row('norm_relu_conv3x3', 1000, dict(BLOCK_M=128), 10.0),
        row('norm_relu_conv3x3', 1000, dict(BLOCK_M=64), 9.9),
        row('norm_relu_conv3x3', 1000, 'cudnn', 9.0, 0),
        row('norm_relu_conv3x3', 4000, dict(BLOCK_M=128), 10.0),
        row('norm_relu_conv3x3', 4000, dict(BLOCK_M=32), 8.0),
        row('norm_relu_conv3x3', 4000, dict(BLOCK_M=16), 'inf', 0),
        row('norm_relu_conv3x3', 4000, 'cudnn', 9.0, 0),
        row('norm_relu_matmul_backward', 4000, dict(BLOCK_M=32), 9.0),
        row('grad_input', 4000, dict(BLOCK_M=32), 5.0),
        row('grad_weight', 4000, dict(BLOCK_M=32), 3.0),
    ]
    file, table = tmp_path / 'tiles.csv', tmp_path / 'tiles.json'
    with file.open('w', newline='') as out:
        writer = csv.DictWriter(out, columns)
        writer.writeheader()
        writer.writerows(rows)
    shape = dict(columns=32, channels=128, bytes=2, aligned=True)
    old = [dict(rows=rows, **shape, BLOCK_M=1) for rows in (1000, 9000)]
    table.write_text(json.dumps({'8.0': {'norm_relu': old}, '9.0': {'norm_relu_conv3x3': old}}))
    write_table(file, table)
    written = json.loads(table.read_text())
    assert written['8.0'] == {'norm_relu': old}
    found = {entry['rows']: entry['BLOCK_M'] for entry in written['9.0']['norm_relu_conv3x3']}
    assert found == {1000: 128, 4000: 32, 9000: 1}
    assert {entry['rows']: entry['implicit'] for entry in written['9.0']['conv3x3_way']} == {1000: False, 4000: True}
    assert [entry['fused'] for entry in written['9.0']['norm_relu_matmul_backward_way']] == [False]


@pytest.mark.parametrize('kernel', KERNELS)
def test_every_launch_has_tiles(kernel):
    for case in cases(kernel):
        found = tiles(case)
        assert len(found) >= 6
        assert len({json.dumps(tile) for tile in found}) == len(found)
