"""A dry run of the benchmark of whole commands: a step is the difference of two runs, a ratio is to the bare step."""

import sys

import pytest
from helpers import read_csv

from benchmarks import end_to_end


@pytest.mark.slow
def test_rows_of_both_commands(monkeypatch, tmp_path, capsys):
    """With the real commands, on few images."""
    case = end_to_end.CASES['BC-40-12']
    few = end_to_end.Case(case.config, case.images, dict(train=4, test=4), dict(train=(1, 3), test=(1, 3)))
    monkeypatch.setattr(end_to_end, 'CASES', {'BC-40-12': few})
    monkeypatch.setattr(end_to_end, 'bare', lambda *args: (1e9, 1e9))
    file = tmp_path / 'rows.csv'
    monkeypatch.setattr(sys, 'argv', ['end_to_end', '--workers', '0', '--rounds', '1', '--csv', str(file)])
    end_to_end.main()
    rows = read_csv(file)
    assert [(row['mode'], row['candidate']) for row in rows] == [
        ('train', end_to_end.BARE),
        ('train', 'mmdensenet train, 0 workers'),
        ('test', end_to_end.BARE),
        ('test', 'mmdensenet test, 0 workers'),
    ]
    assert 'x wall' in capsys.readouterr().out


@pytest.mark.parametrize('mode', end_to_end.TARGETS)
def test_the_bare_step(mode, monkeypatch, tmp_path, capsys):
    """In this process; its batch is that of the command."""
    import json

    case = end_to_end.CASES['BC-40-12']
    few = end_to_end.Case(case.config, case.images, dict(train=4, test=4), dict(train=(1, 3), test=(1, 3)))
    monkeypatch.setattr('mmdensenet_cli.memory.keep_freed_memory', lambda: False)
    end_to_end.write_images('small', 12, tmp_path)
    end_to_end.run_bare(few, mode, tmp_path)
    wall, cpu = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert wall > 0 and cpu > 0


def test_a_step_is_the_difference_over_the_steps_between(monkeypatch, tmp_path):
    case = end_to_end.CASES['BC-40-12']
    taken = iter([(3.0, 5.0), (3.0 + 80 * 0.25, 5.0 + 80 * 0.5)])
    monkeypatch.setattr(end_to_end, 'seconds', lambda words, threads: next(taken))
    assert end_to_end.whole(case, 'train', tmp_path, 2, tmp_path / 'a.pth', 2) == (0.25, 0.5)


def test_what_is_over_its_target_is_named(capsys):
    times = dict(wall_min=1.0, wall_max=1.0, cpu_median=1.0)
    rows = [
        dict(case='121', mode=mode, candidate=candidate, wall_median=wall, **times)
        for mode, candidate, wall in [
            ('train', end_to_end.BARE, 1.0),
            ('train', 'a', 1.2),
            ('train', 'b', 1.04),
            ('test', end_to_end.BARE, 1.0),
            ('test', 'a', 1.2),
        ]
    ]
    assert end_to_end.show(rows) == ['121, test: 1.200 bare steps, at most 1.1 wanted']
    assert '1.040' in capsys.readouterr().out
