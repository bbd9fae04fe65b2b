import json
from types import SimpleNamespace

import own_images
import pytest

import mmdensenet
from mmdensenet.apis.fit import run, write_config
from mmdensenet.apis.fit.work_folder import WorkFolder, fingerprint
from mmdensenet.errors import UserError


@pytest.fixture(autouse=True)
def speed(monkeypatch):
    monkeypatch.setattr(write_config, 'seconds_per_image', lambda *args: 0.001)


def fit(data, work, **options):
    lines = []
    done = mmdensenet.fit(data, work_dir=work, dry_run=True, report=lines.append, **options)
    return done, '\n'.join(lines)


def test_a_dry_run_writes_what_it_found_and_a_config_and_says_what_changed(tmp_path):
    data, work = own_images.class_folders(tmp_path / 'data', 20, ('a', 'b'), side=16), tmp_path / 'work'
    done, text = fit(data, work)
    assert done.config == str(work / 'config.py')
    assert 'changed' not in text
    assert json.loads((work / 'look.json').read_text())['result'] == done.found
    first = (work / 'config.py').read_text()
    done, text = fit(data, work)
    assert 'as before' in text
    assert 'changed' not in text
    # other options
    _, text = fit(data, work, minutes=1)
    assert 'changed since the last call: minutes: None -> 1' in text
    assert (work / 'config.py').read_text() != first
    # other data
    own_images.class_folders(tmp_path / 'data', 21, ('a', 'b'), side=16)
    _, text = fit(data, work, minutes=1)
    assert 'changed since the last call: images' in text
    assert '40 images stay in their part, 2 are new' in text
    # an edited config
    edited = (work / 'config.py').read_text().replace('lr=', 'lr=0.5 * ')
    (work / 'config.py').write_text(edited)
    _, text = fit(data, work, minutes=1)
    assert 'was edited: it is used as it is' in text
    assert (work / 'config.py').read_text() == edited
    with pytest.raises(UserError, match=r'config.py was edited, and these are others now: minutes: 1 -> 2'):
        fit(data, work, minutes=2)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(minutes=0), 'minutes=0: give more than 0'),
        (dict(label='x'), 'label=x: is for a table'),
        (dict(images='x'), 'images=x: is for a table'),
        (dict(weights='none.pth'), 'none.pth'),
    ],
)
def test_mistakes(tmp_path, options, message):
    data = own_images.class_folders(tmp_path / 'data', 12, ('a', 'b'), side=16)
    with pytest.raises(UserError, match=message):
        fit(data, tmp_path / 'work', **options)
    with pytest.raises(UserError, match='does not exist'):
        fit(tmp_path / 'none', tmp_path / 'work')
    with pytest.raises(UserError, match='neither a folder nor a table'):
        fit(data / 'a/000.png', tmp_path / 'work')


def test_training_of_another_config_is_set_aside(tmp_path, monkeypatch):
    from mmdensenet.apis.fit import train_best as module

    calls = []

    def train_model(config, work_dir, resume, cfg_options):
        calls.append((resume, sorted(p.name for p in (tmp_path / 'training').glob('*'))))
        (tmp_path / 'training').mkdir(exist_ok=True)
        (tmp_path / 'training/best_auroc_macro_epoch_7.pth').write_text('weights')
        if len(calls) == 1:
            raise KeyboardInterrupt
        hub = SimpleNamespace(runtime_info=dict(best_score=0.9), get_info=lambda name: 0.9)
        checkpoint = SimpleNamespace(save_best='auroc/macro')
        return SimpleNamespace(
            cfg=SimpleNamespace(default_hooks=SimpleNamespace(checkpoint=checkpoint)), message_hub=hub
        )

    monkeypatch.setattr(module, 'train_model', train_model)
    work, lines = WorkFolder(tmp_path), []
    with pytest.raises(KeyboardInterrupt):
        module.train_best(work, tmp_path / 'config.py', 'training', {}, dict(config='1'), lines.append)
    done = module.train_best(work, tmp_path / 'config.py', 'training', {}, dict(config='1'), lines.append)
    assert calls[1] == ('auto', ['best_auroc_macro_epoch_7.pth']), 'it goes on in the same folder'
    assert done == dict(checkpoint='training/best_auroc_macro_epoch_7.pth', metric='auroc/macro', best=0.9, epoch=7)
    module.train_best(work, tmp_path / 'config.py', 'training', {}, dict(config='1'), lines.append)
    assert len(calls) == 2, 'it is done'
    module.train_best(work, tmp_path / 'config.py', 'training', {}, dict(config='2'), lines.append)
    assert calls[2] == ('auto', []), 'the other config begins anew'
    assert (tmp_path / 'training_before1/best_auroc_macro_epoch_7.pth').is_file()
    assert any('the earlier training is now in training_before1' in line for line in lines)


def test_results_are_whole_or_not_there(tmp_path):
    work = WorkFolder(tmp_path)
    work.write('look', dict(images=fingerprint([1]), classes=['a']), dict(n=1))
    assert work.done('look', dict(images=fingerprint([1]), classes=['a'])) == dict(n=1)
    assert work.done('look', dict(images=fingerprint([2]), classes=['a'])) is None
    assert work.changed('look', dict(images=fingerprint([2]), classes=['a', 'b'])) == [
        "classes: ['a'] -> ['a', 'b']",
        'images',
    ]
    (tmp_path / 'look.json').write_text('{"made_of": {')
    assert work.read('look') is None
    assert [path.name for path in tmp_path.iterdir()] == ['look.json'], 'nothing temporary is left'


def test_refuse():
    with pytest.raises(UserError, match=r'What\? Say it: missing=positive, or negative, ignore\.'):
        run.refuse('What?', 'missing', ('positive', 'negative', 'ignore'))
