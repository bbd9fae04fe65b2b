"""A training by iterations is counted in iterations everywhere; what cannot be is said before it begins."""

import json

import pytest
from helpers import assert_equal, load_weights
from mmengine.config import Config

from mmdensenet.apis import train_model
from mmdensenet.apis.follow_loop import follow_loop
from mmdensenet.errors import UserError
from mmdensenet.results.training_curves import read_scalars

ITERATIONS = """
train_cfg = dict(_delete_=True, by_epoch=False, max_iters={end}, val_interval=2)
param_scheduler = dict(by_epoch=False, milestones=[4])
randomness = dict(seed=1)
"""


def test_log_scalars_curves_and_files_count_iterations(short_config, tmp_path):
    """Six iterations, validated every second one, in an epoch of three; and resumed it ends as uninterrupted."""
    config, work_dir = short_config(ITERATIONS.format(end=6)), tmp_path / 'work'
    train_model(str(config), work_dir=str(work_dir))
    names = {file.name for file in work_dir.glob('*.pth')}
    best = next(name for name in names if name.startswith('best_'))
    assert names - {best} == {'iter_2.pth', 'iter_4.pth', 'iter_6.pth'}
    records = [json.loads(line) for file in work_dir.rglob('scalars.json') for line in file.read_text().splitlines()]
    validations = [record for record in records if 'accuracy/top1' in record]
    assert [record['step'] for record in validations] == [2, 4, 6]
    top = max(validations, key=lambda record: record['accuracy/top1'])
    assert best == f'best_accuracy_top1_iter_{top["step"]}.pth'
    curves, unit = read_scalars(work_dir)
    assert unit == 'iteration'
    assert curves['accuracy/top1'] == ([2, 4, 6], [record['accuracy/top1'] for record in validations])
    assert curves['loss'][0] == [1, 2, 3, 4, 5, 6]
    log = next(work_dir.rglob('*.log')).read_text()
    assert 'Iter(train) [6/6]' in log and 'Iter(val)' in log and 'Epoch(' not in log

    train_model(str(config), work_dir=str(tmp_path / 'resumed'), resume=str(work_dir / 'iter_4.pth'))
    assert_equal(load_weights(tmp_path / 'resumed/iter_6.pth'), load_weights(work_dir / 'iter_6.pth'))


@pytest.mark.parametrize(
    ('checkpoint', 'interval'),
    [
        (dict(type='CheckpointHook'), 20),
        (dict(type='CheckpointHook', interval=1, by_epoch=True), 20),
        (dict(type='CheckpointHook', interval=7), 7),
        (dict(type='CheckpointHook', interval=1, by_epoch=False), 1),
    ],
)
@pytest.mark.parametrize('loop', [dict(by_epoch=False), dict(type='mmdensenet.IterBasedTrainLoop')])
def test_the_checkpoint_interval(checkpoint, interval, loop):
    cfg = Config(dict(train_cfg=dict(max_iters=60, val_interval=20, **loop), default_hooks=dict(checkpoint=checkpoint)))
    follow_loop(cfg)
    hook = cfg.default_hooks.checkpoint
    assert (hook.by_epoch, hook.interval) == (False, interval)
    assert cfg.log_processor == dict(by_epoch=False) and cfg.default_hooks.logger.log_metric_by_epoch is False


def test_a_training_by_epochs_stays_as_it_is():
    cfg = Config(dict(train_cfg=dict(by_epoch=True, max_epochs=3), default_hooks=dict(checkpoint=dict(interval=1))))
    before = cfg.to_dict()
    follow_loop(cfg)
    assert cfg.to_dict() == before


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'train_cfg.val_interval': 0}, r'^train_cfg\.val_interval=0: give a whole number of 1 or more; validate='),
        ({'train_cfg.val_interval': 0.5}, r'^train_cfg\.val_interval=0\.5: '),
        ({'train_cfg.val_interval': -1}, r'^train_cfg\.val_interval=-1: '),
        ({'train_cfg.dynamic_intervals': [(1, 0)]}, r'^train_cfg\.dynamic_intervals=0: '),
        ({'train_cfg.val_begin': 3}, r'^train_cfg\.val_begin=3 is after the end, max_epochs=2: nothing would'),
    ],
)
def test_intervals(short_config, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        train_model(str(short_config()), work_dir=str(tmp_path / 'w'), cfg_options=options)
    assert not (tmp_path / 'w').exists()
