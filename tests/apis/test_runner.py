"""mmdensenet.apis.runner: one opened config for every tool."""

from pathlib import Path

import pytest
import torch
from conftest import DIGITS
from mmengine.config import Config
from mmengine.runner import Runner

from mmdensenet.apis import test_model, train_model
from mmdensenet.apis.runner import build_runner, open_config, prepare_data, require_checkpoint, set_work_dir
from mmdensenet.errors import UserError
from mmdensenet.ops.show_engine import engine


def test_a_loaded_config_is_copied_and_gets_the_options():
    given = Config.fromfile(DIGITS)
    opened = open_config(given, {'model.backbone.drop_rate': 0.5})
    assert opened.model.backbone.drop_rate == 0.5 and 'drop_rate' not in given.model.backbone
    assert 'launcher' not in opened and open_config(given, None, 'none').launcher == 'none'


def test_a_config_without_a_model():
    with pytest.raises(UserError, match='the config has no model'):
        open_config(Config(dict(test_dataloader=None)))


@pytest.mark.parametrize(
    ('key', 'value', 'message'),
    [
        ('train_dataloader', [1], r'train_dataloader=\[1\]: it must be a dict of settings'),
        ('model', 'x', "model='x': it must be a dict"),
        ('env_cfg', 3, 'env_cfg=3: it must be a dict'),
        ('train_dataloader.batch_size', None, 'train_dataloader.batch_size=None: give a whole number of 1 or more'),
        ('test_dataloader.batch_size', 4.0, 'test_dataloader.batch_size=4.0: give'),
        ('val_dataloader.num_workers', 1.5, 'val_dataloader.num_workers=1.5: give a whole number of 0 or more'),
    ],
)
def test_values_of_other_kinds(key, value, message):
    cfg = Config.fromfile(DIGITS)
    with pytest.raises(UserError, match=message):
        open_config(cfg, {key: value})


def test_an_empty_load_from_is_none():
    cfg = Config.fromfile(DIGITS)
    cfg.load_from = ''
    assert open_config(cfg).load_from is None


def test_misspelt_default_hooks(tmp_path):
    """mmengine takes them for hooks beside the default ones, which keep their settings."""
    hooks = dict(chekpoint=dict(type='CheckpointHook', interval=3))
    cfg = Config(dict(model=Config.fromfile(DIGITS).model, work_dir=str(tmp_path), default_hooks=hooks))
    with pytest.raises(UserError, match=r"default_hooks: there is no 'chekpoint'\. Did you mean checkpoint"):
        build_runner(open_config(cfg))


def test_torchrun_starts_the_process(monkeypatch):
    monkeypatch.delenv('RANK', raising=False)
    with pytest.raises(UserError, match=r'dist_train\.sh'):
        open_config(str(DIGITS), None, 'pytorch')


def test_work_dir():
    cfg = Config.fromfile(DIGITS)
    set_work_dir(cfg, None)
    assert cfg.work_dir == str(Path('work_dirs', DIGITS.stem))
    set_work_dir(cfg, 'mine')
    set_work_dir(cfg, None)
    assert cfg.work_dir == 'mine'


def test_the_log_says_what_computes(tmp_path):
    cfg = Config(dict(model=Config.fromfile(DIGITS).model, work_dir=str(tmp_path), experiment_name='log'))
    build_runner(open_config(cfg))
    [log] = tmp_path.rglob('*.log')
    assert f'Dense blocks are computed by {engine()}.' in log.read_text()


def test_checkpoints_that_are_not_there(tmp_path):
    require_checkpoint('https://example.org/model.pth')
    with pytest.raises(UserError, match=r'nope\.pth does not exist'):
        require_checkpoint(str(tmp_path / 'nope.pth'))
    with pytest.raises(UserError, match='is a folder'):
        require_checkpoint(str(tmp_path))
    for name in ('model.onnx', 'model.XML', 'model.pt2'):
        (tmp_path / name).touch()
        with pytest.raises(
            UserError, match=f'{name} is an exported file: give the checkpoint that it was exported from'
        ):
            require_checkpoint(str(tmp_path / name))


def test_loops_are_ours_unless_the_config_names_one():
    cfg = Config(
        dict(
            train_cfg=dict(by_epoch=False, max_iters=3),
            val_cfg=dict(type='ValLoop'),
            test_cfg=dict(),
            val_dataloader=dict(dataset=dict(pipeline=[dict(type='LoadImageFromFile')])),
        )
    )
    prepare_data(cfg, 'val_dataloader')
    assert cfg.train_cfg == dict(type='mmdensenet.IterBasedTrainLoop', max_iters=3)
    assert (cfg.val_cfg.type, cfg.test_cfg.type) == ('ValLoop', 'mmdensenet.TestLoop')
    assert cfg.val_dataloader.dataset.pipeline[0].type == 'mmdensenet.LoadImage'


def test_weights_are_there_before_anything_is_built(short_config, tmp_path, monkeypatch):
    """A download, a path, and the weights with which a part of the model begins."""

    def fail(url, *args, **kwargs):
        raise OSError('no network')

    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    monkeypatch.setattr(torch.hub, 'download_url_to_file', fail)
    monkeypatch.setattr(Runner, '__init__', lambda *args, **kwargs: pytest.fail('a runner is built'))
    url, config = 'https://example.org/model.pth', str(short_config())
    for call, name in (
        (lambda: train_model(config, cfg_options={'load_from': url}), 'cannot download'),
        (lambda: test_model(config, url), 'cannot download'),
        (lambda: train_model(config, resume=url), 'cannot download'),
        (lambda: train_model(config, cfg_options={'model.backbone.init_cfg': pretrained(url)}), 'cannot download'),
        (lambda: train_model(config, cfg_options={'model.init_cfg': [pretrained('w.pth')]}), r'w\.pth does not exist'),
    ):
        with pytest.raises(UserError, match=name):
            call()


def pretrained(checkpoint: str) -> dict:
    return dict(type='Pretrained', checkpoint=checkpoint)
