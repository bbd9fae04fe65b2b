"""mmdensenet.analysis.schedule: the same values as in training."""

import json

import numpy as np
import pytest
from mmengine.config import Config

from mmdensenet.analysis.schedule import schedule_figure, simulate_schedule
from mmdensenet.apis import list_models, load_config, train_model
from mmdensenet.errors import UserError


@pytest.fixture
def config(short_config):
    return lambda: load_config(str(short_config()))


def with_schedule(config, schedulers, **train_cfg):
    cfg = config()
    cfg.param_scheduler = schedulers
    cfg.train_cfg.update(train_cfg)
    return cfg


WARM_UP = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=True, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=3, eta_min=0.001, by_epoch=True, begin=1, end=4, convert_to_iter_based=True),
    dict(type='LinearMomentum', start_factor=0.5, by_epoch=False, begin=0, end=4),
]


@pytest.mark.slow
def test_training_logs_the_same_rates(config, tmp_path):
    cfg = with_schedule(config, WARM_UP, max_epochs=4, val_interval=10)
    cfg.auto_scale_lr = dict(base_batch_size=32, enable=True)
    found = simulate_schedule(cfg)
    train_model(cfg, work_dir=str(tmp_path / 'work'))
    [log] = (tmp_path / 'work').glob('*/vis_data/scalars.json')
    logged = [record for record in map(json.loads, log.read_text().splitlines()) if 'lr' in record]
    assert len(logged) == 12  # 24 images in batches of 8, 4 epochs
    np.testing.assert_allclose(found.rates, [[record['lr'] for record in logged]], rtol=1e-12)
    np.testing.assert_allclose(found.x, [(record['step'] - 1) / 3 for record in logged])
    assert found.rates[0, 0] == pytest.approx(0.1 * 0.05 * 8 / 32)  # warm-up of the rate for this batch size
    assert found.momenta[0, :5] == pytest.approx(np.array([0.5, 0.5 + 1 / 6, 0.5 + 2 / 6, 1, 1]) * 0.9)


@pytest.mark.slow
@pytest.mark.parametrize('name', list_models())
def test_every_schedule_comes_to_its_end(name):
    cfg = load_config(f'mmdensenet::{name}.py')
    # on which nothing depends here
    small = dict(growth_rate=4, depths=(1,), init_channels=8)
    if cfg.model.backbone.type.endswith('RDNet'):
        small = dict(growth_rates=(8,), downsample=(), init_channels=8)
    cfg.model.backbone.arch = small
    found = simulate_schedule(cfg, dataset_size=500)
    # a hundredth of the highest rate, or the least rate of RDNet's cosines
    assert found.rates[0, -1] <= max(found.rates.max() / 99, 1.01e-6)
    assert found.end == cfg.train_cfg.max_epochs
    assert found.momenta.tolist() == [[0.9] * found.rates.shape[1]]


def test_steps_between_epochs_need_no_data(config):
    cfg = with_schedule(config, dict(type='MultiStepLR', milestones=[2, 3], gamma=0.1), max_epochs=5)
    cfg.train_dataloader.dataset = dict(type='CustomDataset', data_root='nowhere')
    found = simulate_schedule(cfg)
    assert found.rates == pytest.approx(0.05 * np.array([[1, 1, 0.1, 0.01, 0.01]]))
    assert (found.unit, found.end, found.x.tolist()) == ('epoch', 5, [0, 1, 2, 3, 4])


def test_without_schedulers_it_is_constant(config):
    cfg = with_schedule(config, None, max_epochs=3)
    assert simulate_schedule(cfg).rates.tolist() == [[0.05] * 3]


def test_the_length_of_an_epoch(config):
    schedulers = dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=10)
    cfg = with_schedule(config, schedulers, max_epochs=2)
    assert simulate_schedule(cfg, dataset_size=41).rates.shape == (1, 2 * 6)
    assert simulate_schedule(cfg, dataset_size=41, world_size=2).rates.shape == (1, 2 * 3)
    cfg.train_dataloader.drop_last = True
    assert simulate_schedule(cfg, dataset_size=41).rates.shape == (1, 2 * 5)
    with pytest.raises(UserError, match='do not fill one batch of 8'):
        simulate_schedule(cfg, dataset_size=7)
    cfg.train_dataloader.dataset = dict(type='CustomDataset', data_root='nowhere')
    with pytest.raises(UserError, match='give `dataset_size`'):
        simulate_schedule(cfg)


def test_iterations_and_groups(config):
    cfg = with_schedule(config, dict(type='PolyLR', eta_min=0, by_epoch=False, end=6))
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=6)
    cfg.optim_wrapper = Config(
        dict(optimizer=dict(type='AdamW', lr=0.1), paramwise_cfg=dict(custom_keys={'head': dict(lr_mult=10)}))
    )._cfg_dict
    found = simulate_schedule(cfg)
    assert (found.unit, found.end) == ('iteration', 6)
    falling = np.linspace(1, 0, 6)
    assert found.rates == pytest.approx(np.array([0.1 * falling, falling]))
    assert found.momenta == pytest.approx(np.full((1, 6), 0.9))  # Adam's first beta
    figure = schedule_figure(found)
    assert [axes.get_ylabel() for axes in figure.axes] == ['learning rate', 'momentum']
    assert len(figure.axes[0].lines) == 2
    assert len(figure.axes[0].get_legend().texts) == 2


def test_what_is_missing_is_named(config):
    cfg = config()
    cfg.optim_wrapper = None
    with pytest.raises(UserError, match='no optim_wrapper'):
        simulate_schedule(cfg)
