"""A config stays as it is for the same inputs, wherever they are, and is written anew for others."""

import json

import own_images
import pytest

import mmdensenet
from mmdensenet.apis.fit import write_config
from mmdensenet.apis.fit.work_folder import WorkFolder
from mmdensenet.errors import UserError


@pytest.fixture(autouse=True)
def speed(monkeypatch):
    monkeypatch.setattr(write_config, 'seconds_per_image', lambda *args: (0.001, 10**6))


def fit(data, work, **options):
    lines = []
    mmdensenet.fit(data, work_dir=work, dry_run=True, report=lines.append, **options)
    return '\n'.join(lines), (work / 'config.py').read_text()


def test_what_was_moved_has_other_paths_and_is_no_other_training(tmp_path, monkeypatch):
    made_of = []

    def train_best(*args):
        made_of.append(args[4])
        raise KeyboardInterrupt

    monkeypatch.setattr('mmdensenet.apis.fit.run.train_best', train_best)

    def begin(data, work):
        lines = []
        with pytest.raises(KeyboardInterrupt):
            mmdensenet.fit(data, work_dir=work, report=lines.append)
        return '\n'.join(lines), (work / 'config.py').read_text()

    data, work = own_images.class_folders(tmp_path / 'photos', 12, ('a', 'b'), side=16), tmp_path / 'work'
    first = begin(data, work)[1]
    (tmp_path / 'other').mkdir()
    moved, there = tmp_path / 'other/photos', tmp_path / 'other/work'
    data.rename(moved)
    work.rename(there)
    text, now = begin(moved, there)
    assert f'the paths in {there / "config.py"} are changed' in text and 'as before' in text
    assert now == first.replace(repr(str(data)), repr(str(moved))).replace(
        repr(str(work / 'samples.csv')), repr(str(there / 'samples.csv'))
    )
    assert repr(str(moved)) in now and made_of[0] == made_of[1]
    assert 'elsewhere' not in begin(moved, there)[0]
    # an edited one stays edited
    (there / 'config.py').write_text(now.replace('lr=', 'lr=0.5 * '))
    moved.rename(data)
    for _ in range(2):
        text, now = begin(data, there)
        assert 'was edited: it is used as it is' in text and repr(str(data)) in now and 'lr=0.5 * ' in now
    assert made_of[2] == made_of[0] != made_of[3] == made_of[4]


@pytest.mark.slow
def test_columns_to_judge_by_are_no_part_of_the_config(tmp_path):
    rows = [[f'{i}.png', 'ab'[i % 2], 'fm'[i // 2 % 2]] for i in range(24)]
    for name, *_ in rows:
        own_images.class_folders(tmp_path / name[:-4], 1, ('x',), side=16, seed=int(name[:-4]))
        (tmp_path / name[:-4] / 'x/000.png').rename(tmp_path / name)
    table = own_images.table(tmp_path / 'labels.csv', ['file', 'label', 'sex'], rows)
    first = fit(table, tmp_path / 'work')[1]
    text, now = fit(table, tmp_path / 'work', subgroups=['sex'])
    assert now == first and 'as before' in text and 'changed' not in text
    rows[0][1] = 'b'
    own_images.table(table, ['file', 'label', 'sex'], rows)
    assert 'changed since the last call: samples' in fit(table, tmp_path / 'work', subgroups=['sex'])[0]


def test_other_weights_in_a_file_of_the_same_name(tmp_path):
    import torch

    from mmdensenet import get_model

    data = own_images.class_folders(tmp_path / 'photos', 12, ('a', 'b'), side=16)
    for seed in (0, 1):
        torch.manual_seed(seed)
        state = get_model('densenet-bc-l22-k12').state_dict()
        torch.save(dict(state_dict=state), tmp_path / 'w.pth')
        text = fit(data, tmp_path / 'work', network='densenet-bc-l22-k12', weights=str(tmp_path / 'w.pth'))[0]
    assert 'changed since the last call: weights_file\n' in text


def test_a_call_that_is_interrupted_between_config_and_result_writes_it_again(tmp_path, monkeypatch):
    data, work = own_images.class_folders(tmp_path / 'photos', 12, ('a', 'b'), side=16), tmp_path / 'work'
    fit(data, work)
    write = WorkFolder.write
    monkeypatch.setattr(
        WorkFolder, 'write', lambda self, step, *rest: write(self, step, *rest) if step != 'config' else 1 / 0
    )
    with pytest.raises(ZeroDivisionError):
        fit(data, work, minutes=1)
    monkeypatch.setattr(WorkFolder, 'write', write)
    text, now = fit(data, work, minutes=2)
    assert 'edited' not in text and 'what 2 minutes allow' in now
    assert json.loads((work / 'config.json').read_text())['made_of']['minutes'] == 2
    (work / 'config.py').write_text(now + '\n')
    with pytest.raises(UserError, match='was edited, and these are others now: minutes: 2 -> 3'):
        fit(data, work, minutes=3)
