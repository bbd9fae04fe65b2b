"""A training that is done is not done again; one of something else is set aside."""

import os
from types import SimpleNamespace

import pytest
from mmengine.config import Config

from mmdensenet.apis.fit import train_best as module
from mmdensenet.apis.fit.work_folder import WorkFolder
from mmdensenet.errors import UserError


@pytest.fixture
def train(monkeypatch):
    """Stands in for a training: the epochs that it says are the best, of which the last is the newest."""
    calls, epochs = [], [2, 10]

    def run(config, work_dir, resume, cfg_options):
        calls.append((config, resume, cfg_options))
        os.makedirs(work_dir, exist_ok=True)
        if None in epochs:
            raise KeyboardInterrupt
        for when, epoch in enumerate(epochs):
            file = f'{work_dir}/best_accuracy_epoch_{epoch}.pth'
            open(file, 'w').close()
            os.utime(file, (when, when))
        hub = SimpleNamespace(runtime_info=dict(best_score=0.75), get_info=dict(best_score=0.75).get)
        hooks = dict(checkpoint=dict(save_best='accuracy'))
        return SimpleNamespace(cfg=Config(dict(default_hooks=hooks)), message_hub=hub)

    monkeypatch.setattr(module, 'train_model', run)
    return SimpleNamespace(calls=calls, epochs=epochs)


def test_the_best_epoch_is_kept(tmp_path, train):
    work, lines = WorkFolder(tmp_path), []

    def call(made_of):
        return module.train_best(work, tmp_path / 'c.py', 'training', dict(a=1), made_of, lines.append)

    found = call(dict(config='#1'))
    assert found == dict(checkpoint='training/best_accuracy_epoch_10.pth', metric='accuracy', best=0.75, epoch=10)
    assert train.calls == [(str(tmp_path / 'c.py'), 'auto', dict(a=1))]
    said = 'epoch 10 is the best, with accuracy of 0.75 on the validation part'
    assert lines == [f'  {said}'] and module.describe(dict(found, best=None)) == said.replace(' of 0.75', '')


def test_a_metric_that_was_never_a_number(tmp_path, train):
    train.epochs.clear()
    with pytest.raises(UserError, match='has no best checkpoint: accuracy was never a number'):
        module.train_best(WorkFolder(tmp_path), tmp_path / 'c.py', 'training', {}, {}, print)


def test_a_fold_is_a_column_and_what_it_has_of_its_own(tmp_path):
    file = tmp_path / 'c.py'
    file.write_text(
        'model = dict()\nfolds = dict(fold2=dict(data_preprocessor=dict(mean=[1.0]), model=dict(a=dict(b=2))))\n'
    )
    loaders = {f'{loader}.dataset.split_column': 'fold1' for loader in module.LOADERS}
    assert module.fold_options(file, 'fold1') == loaders
    options = module.fold_options(file, 'fold2')
    assert set(options) - set(loaders) == {'data_preprocessor.mean', 'model.a.b'}
    assert options['data_preprocessor.mean'] == [1.0] and options['model.a.b'] == 2
    assert {options[key] for key in loaders} == {'fold2'}


def test_training_of_another_config_is_set_aside(tmp_path, monkeypatch):
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


def test_options_of_before_after_others_that_were_interrupted(tmp_path, train):
    """The interrupted training left a best epoch of the same name, which is not that of the options of before."""
    work = WorkFolder(tmp_path)

    def call(options, interrupt=False):
        if interrupt:
            train.epochs.append(None)
        return module.train_best(work, tmp_path / 'c.py', 'training', {}, dict(config=options), print)

    first = call('#1')
    (tmp_path / first['checkpoint']).write_text('weights of #1')
    with pytest.raises(KeyboardInterrupt):
        call('#2', interrupt=True)
    (tmp_path / first['checkpoint']).write_text('weights of #2')
    train.epochs.remove(None)
    again = call('#1')
    assert (tmp_path / again['checkpoint']).read_text() == '' and len(train.calls) == 3, 'trained again'
