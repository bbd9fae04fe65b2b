"""Batches without any image, with the policy 'skip', in training on several ranks and by iterations."""

import pytest
import torch
from conftest import clear_state
from helpers import assert_equal
from mmengine.hooks import Hook
from mmengine.registry import DATASETS, HOOKS
from support.forks import on_two_ranks

from mmdensenet.apis import train_model
from mmdensenet.datasets import Digits
from mmdensenet.errors import BadImageError
from mmdensenet.training.hooks.bad_images_hook import LIST, listed


@DATASETS.register_module()
class Spotty(Digits):
    """Digits of which some cannot be read."""

    def __init__(self, bad=(), **kwargs):
        self.bad = bad
        super().__init__(**kwargs)

    def prepare_data(self, index):
        if index in self.bad:
            raise BadImageError.of(f'/data/{index}.png', 'spotty')
        return super().prepare_data(index)


@HOOKS.register_module()
class Watch(Hook):
    """Dies before an iteration; keeps what a rank's model has when training ends, and which iterations had a step."""

    priority = 'LOWEST'
    die_at = None

    def before_train(self, runner):
        self.steps = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == Watch.die_at:
            raise KeyError('died')

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        assert (outputs is None) == (len(data_batch['inputs']) == 0)
        if outputs is not None:
            self.steps.append(runner.iter)

    def after_train(self, runner):
        parameters = {name.removeprefix('module.'): p.detach() for name, p in runner.model.named_parameters()}
        torch.save(dict(parameters=parameters, steps=self.steps), f'{runner.work_dir}/rank_{runner.rank}.pt')


CONFIG = """
train_dataloader = dict(
    batch_size={batch}, num_workers={workers}, persistent_workers={workers} > 0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='Spotty', bad={bad}, indices={images}, pipeline=[dict(type='PackInputs')]))
val_cfg = val_dataloader = val_evaluator = None
default_hooks.update(
    checkpoint=dict(interval=100, save_last=False), curves=dict(type='Watch', _delete_=True),
    bad_images=dict(type='mmdensenet.BadImagesHook', policy='skip'),
    exact_resume=dict(type='mmdensenet.ExactResumeHook', interval=1))
optim_wrapper = dict(accumulative_counts={sums})
{extra}
"""
BY_ITERATIONS = """
train_cfg = dict(by_epoch=False, max_iters=9, _delete_=True)
param_scheduler = dict(type='LinearLR', by_epoch=False, end=6, _delete_=True)
log_processor = dict(by_epoch=False)
"""


@pytest.fixture
def configure(short_config):
    def write(name, bad, batch=1, workers=0, sums=1, extra='', images=12):
        text = CONFIG.format(batch=batch, workers=workers, bad=bad, sums=sums, extra=extra, images=images)
        return str(short_config(text + '\nrandomness = dict(seed=1)\n', name=f'{name}.py'))

    yield write
    Watch.die_at = None


def train_on_two_ranks(config, work_dir, **kwargs):
    return on_two_ranks(lambda: train_model(config, work_dir=str(work_dir), launcher='pytorch', **kwargs), work_dir)


@pytest.mark.parametrize(
    ('norm', 'sums'),
    [('SyncBN', 3), *(pytest.param(*case, marks=pytest.mark.slow) for case in (('SyncBN', 1), ('BN', 3)))],
)
def test_two_ranks_skip_together(configure, tmp_path, norm, sums):
    """As one process that gets the batches of both does, when both images of a pair cannot be read.

    Iterations 2 and 5 end a sum of three gradients: the ranks have to bring theirs together without a backward pass.
    """
    extra = f"model['backbone']['norm_cfg'] = dict(type={norm!r})\ntrain_cfg = dict(max_epochs=2)"
    statuses, out = train_on_two_ranks(configure('ranks', [5, 2, 10, 11], sums=sums, extra=extra), tmp_path / 'ranks')
    assert statuses == [0, 0], out
    assert out.count("is without a step: none of the images of a process's batch can be read.") == 6
    ranks = [torch.load(tmp_path / f'ranks/rank_{rank}.pt') for rank in (0, 1)]
    assert ranks[0]['steps'] == ranks[1]['steps'] == [0, 3, 4, 6, 9, 10]
    assert_equal(ranks[1]['parameters'], ranks[0]['parameters'])
    if norm == 'SyncBN':
        bad = [2, 3, 4, 5, 10, 11]
        train_model(configure('one', bad, batch=2, sums=sums, extra=extra), work_dir=str(tmp_path / 'one'))
        one = torch.load(tmp_path / 'one/rank_0.pt')
        assert one['steps'] == ranks[0]['steps']
        for name, value in one['parameters'].items():
            assert torch.allclose(ranks[0]['parameters'][name], value, rtol=1e-4, atol=1e-6), name


def test_two_ranks_resume_where_they_were(configure, tmp_path):
    """Killed with gradients that are being summed up, before an iteration without a step that ends the sum."""
    extra = f"model['backbone']['norm_cfg'] = dict(type='SyncBN')\n{BY_ITERATIONS}"
    config = configure('ranks', [5, 2, 10, 11], sums=3, extra=extra)
    assert train_on_two_ranks(config, tmp_path / 'whole')[0] == [0, 0]
    Watch.die_at = 5
    assert train_on_two_ranks(config, tmp_path / 'parts')[0] == [1, 1]
    Watch.die_at = None
    statuses, out = train_on_two_ranks(config, tmp_path / 'parts', resume='auto')
    assert statuses == [0, 0] and 'resumed epoch: 0, iter: 5' in out, out
    for rank in (0, 1):
        whole, parts = (torch.load(tmp_path / run / f'rank_{rank}.pt') for run in ('whole', 'parts'))
        assert whole['steps'] == [0, 3, 4, 6] and parts['steps'] == [6]
        assert_equal(parts['parameters'], whole['parameters'])


RANKS = """
train_dataloader = dict(batch_size=4, dataset=dict(indices=28))
default_hooks.update(
    curves=dict(type='Statistics', _delete_=True), exact_resume=dict(type='mmdensenet.ExactResumeHook', interval=1))
custom_hooks = {hooks}
"""


@HOOKS.register_module()
class Statistics(Hook):
    """Dies before an iteration, and keeps the running statistics with which a rank validates."""

    priority = 'LOWEST'

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == Watch.die_at:
            raise KeyError('died')

    def before_val_iter(self, runner, batch_idx, data_batch=None):
        buffers = {name.removeprefix('module.'): b for name, b in runner.model.named_buffers() if '.stages.' in name}
        torch.save(buffers, f'{runner.work_dir}/validated_{runner.epoch}_{runner.rank}.pt')


@pytest.mark.parametrize(
    'hooks',
    [
        [],
        [dict(type='EMAHook', momentum=0.1, update_buffers=True)],
        pytest.param([dict(type='SyncBuffersHook')], marks=pytest.mark.slow),
    ],
)
def test_two_ranks_validate_what_the_first_saves(short_config, tmp_path, hooks):
    """Also those that resume inside an epoch, whose running statistics differ without SyncBN."""
    config = str(short_config(RANKS.format(hooks=hooks)))
    assert train_on_two_ranks(config, tmp_path / 'whole')[0] == [0, 0]
    Watch.die_at = 6
    assert train_on_two_ranks(config, tmp_path / 'parts')[0] == [1, 1]
    Watch.die_at = None
    statuses, out = train_on_two_ranks(config, tmp_path / 'parts', resume='auto')
    assert statuses == [0, 0] and 'resumed epoch: 1, iter: 6' in out, out
    whole, parts = (torch.load(tmp_path / run / 'epoch_2.pth', weights_only=True) for run in ('whole', 'parts'))
    assert_equal(parts['state_dict'], whole['state_dict'])
    assert_equal(parts['exact_resume'], whole['exact_resume'])
    scores = [saved['message_hub']['runtime_info']['best_score'] for saved in (parts, whole)]
    assert scores[0] == scores[1]
    for epoch in (1, 2):
        saved = torch.load(tmp_path / f'whole/epoch_{epoch}.pth', weights_only=True)['state_dict']
        for rank in (0, 1):
            buffers = torch.load(tmp_path / f'whole/validated_{epoch}_{rank}.pt')
            assert len(buffers) > 8
            assert_equal(buffers, {name: saved[name] for name in buffers})


@pytest.mark.parametrize('sampler', ['InfiniteSampler', pytest.param('DefaultSampler', marks=pytest.mark.slow)])
@pytest.mark.parametrize('workers', [0, pytest.param(1, marks=pytest.mark.slow)])
def test_training_by_iterations(configure, tmp_path, workers, sampler):
    """Empty batches are skipped and counted, also after resuming; one and a half of 5 batches are empty in 9
    iterations."""
    sampled = f"train_dataloader['sampler'] = dict(type={sampler!r}, shuffle=True)"
    config = configure('run', [0, 3, 4, 7], workers=workers, sums=2, images=6, extra=BY_ITERATIONS + sampled)
    train_model(config, work_dir=str(tmp_path / 'whole'))
    whole = torch.load(tmp_path / 'whole/rank_0.pt')
    assert 0 < len(whole['steps']) < 9
    assert sorted(set(listed(tmp_path / 'whole' / LIST))) == ['/data/0.png', '/data/3.png', '/data/4.png']
    for stop in (4, 7):
        clear_state()
        Watch.die_at = stop
        with pytest.raises(KeyError, match='died'):
            train_model(config, work_dir=str(tmp_path / 'parts'), resume='auto')
    Watch.die_at = None
    train_model(config, work_dir=str(tmp_path / 'parts'), resume='auto')
    parts = torch.load(tmp_path / 'parts/rank_0.pt')
    assert parts['steps'] == [step for step in whole['steps'] if step >= 7]
    assert_equal(parts['parameters'], whole['parameters'])
