"""Checks before a training begins."""

import importlib.util

import pytest

from mmdensenet.apis import train_model
from mmdensenet.apis.follow_loop import BACKEND_PACKAGES
from mmdensenet.errors import UserError


@pytest.mark.parametrize('name', ['WandbVisBackend', 'MLflowVisBackend', 'AimVisBackend', 'ClearMLVisBackend',
                                  'DVCLiveVisBackend', 'NeptuneVisBackend'])  # fmt: skip
def test_visualizer_back_ends_that_are_not_installed(short_config, tmp_path, monkeypatch, name):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        'find_spec',
        lambda package, *a: None if package == BACKEND_PACKAGES[name] else find(package, *a),
    )
    config = short_config(
        f"visualizer = dict(vis_backends=[dict(type='LocalVisBackend'), dict(type='mmengine.{name}')])"
    )
    with pytest.raises(UserError) as caught:
        train_model(str(config), work_dir=str(tmp_path / 'w'))
    first, second = str(caught.value).splitlines()
    package = BACKEND_PACKAGES[name]
    assert first == f'visualizer.vis_backends: {name} needs the package {package}. Run: pip install {package}'
    assert 'LocalVisBackend' in second and name not in second
    assert not (tmp_path / 'w').exists()


def test_a_hook_of_ours_may_be_left_out(short_config, tmp_path):
    train_model(str(short_config("default_hooks['curves'] = None")), work_dir=str(tmp_path / 'w'))
    assert not (tmp_path / 'w/training_curves.png').exists()


def test_a_work_directory_in_which_another_run_trains(short_config, tmp_path, monkeypatch):
    """Refused before anything there is written, on the first of several processes."""

    def refuse(work_dir):
        raise UserError(f'{work_dir}: another run')

    monkeypatch.setattr('mmdensenet.apis.train.alone_in', refuse)
    with pytest.raises(UserError, match='w: another run'):
        train_model(str(short_config()), work_dir=str(tmp_path / 'w'))
    assert not (tmp_path / 'w').exists()
