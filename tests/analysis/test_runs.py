"""mmdensenet.analysis.runs: curves of several runs."""

import json

import pytest

from mmdensenet.analysis.runs import curves_figure, read_runs
from mmdensenet.errors import UserError


@pytest.fixture
def run(tmp_path):
    """A work directory with made-up curves: a loss per iteration and a metric per epoch."""

    def write(name, epochs=3, length=4, by_epoch=True):
        folder = tmp_path / name / '20260101_000000/vis_data'
        folder.mkdir(parents=True)
        lines = []
        for step in range(1, epochs * length + 1):
            epoch = dict(epoch=-(-step // length)) if by_epoch else {}
            lines.append(dict(lr=0.1 ** (step // 4), loss=1 / step, step=step, iter=step, **epoch))
            if step % length == 0:
                lines.append({'accuracy/top1': 90 + step, 'step': step // length if by_epoch else step})
        (folder / 'scalars.json').write_text('\n'.join(map(json.dumps, lines)))
        return tmp_path / name

    return write


def test_all_runs_are_in_each_panel(run):
    runs, unit = read_runs([run('a'), run('b', epochs=5)])
    assert unit == 'epoch'
    assert list(runs) == ['a', 'b']
    figure = curves_figure(runs, unit)
    assert [axes.get_ylabel() for axes in figure.axes] == ['loss', 'accuracy/top1']
    assert [len(axes.lines) for axes in figure.axes] == [2, 2]
    x, y = figure.axes[1].lines[1].get_data()
    assert (list(x), list(y)) == ([1, 2, 3, 4, 5], [94, 98, 102, 106, 110])
    assert [text.get_text() for text in figure.legends[0].texts] == ['a', 'b']
    looks = {(line.get_color(), line.get_marker()) for line in figure.axes[0].lines}
    assert len(looks) == 2


def test_patterns_choose_curves(run):
    runs, unit = read_runs([run('a')], ['first'])
    figure = curves_figure(runs, unit, ['lr', 'acc*'])
    assert [axes.get_ylabel() for axes in figure.axes] == ['lr', 'accuracy/top1']
    assert figure.axes[0].get_yscale() == 'log'
    assert figure._suptitle.get_text() == 'first'
    with pytest.raises(UserError, match='no curve has a name like f1; there are lr, loss, accuracy/top1'):
        curves_figure(runs, unit, ['f1'])


def test_names_tell_runs_apart(run, tmp_path):
    assert list(read_runs([run('x/work'), run('y/work')])[0]) == ['x/work', 'y/work']
    with pytest.raises(UserError, match='two runs have the name'):
        read_runs([tmp_path / 'x/work', tmp_path / 'y/work'], ['z', 'z'])
    with pytest.raises(UserError, match='1 names for 2 runs'):
        read_runs([tmp_path / 'x/work', tmp_path / 'y/work'], ['z'])


def test_mistakes_are_named(run, tmp_path):
    with pytest.raises(UserError, match='nowhere is not a folder'):
        read_runs([tmp_path / 'nowhere'])
    (tmp_path / 'empty').mkdir()
    with pytest.raises(UserError, match=r'empty has no curves.*scalars.json'):
        read_runs([tmp_path / 'empty'])
    with pytest.raises(UserError, match=r'do not share an axis \(a epochs, b iterations\)'):
        read_runs([run('a'), run('b', by_epoch=False)])
