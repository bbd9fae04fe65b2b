"""A loss that is NaN or infinite stops the run before its weights are saved."""

import json
import math
import re
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmpretrain.structures import DataSample, MultiTaskDataSample

from mmdensenet.checkpoints.checkpoint_file import what_is_wrong
from mmdensenet.errors import UserError
from mmdensenet.training.hooks import FiniteHook


@HOOKS.register_module()
class Poison(Hook):
    """Spoils the images before the fourth iteration, or the weights after it."""

    what = 'images'

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 3 and Poison.what == 'images':
            data_batch['inputs'] = torch.full(data_batch['inputs'].shape, float('inf'))

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == 5 and Poison.what == 'weights':
            runner.model.head.fc.weight.data[0, 0] = float('nan')


@pytest.mark.parametrize('amp', [[], ['--amp']], ids=['fp32', 'bf16'])
def test_a_loss_that_is_nan(run_tool, short_config, tmp_path, amp):
    Poison.what = 'images'
    config = short_config("custom_hooks = [dict(type='Poison')]\ndefault_hooks['exact_resume'] = dict(interval=1)")
    done = run_tool('train.py', config, '--work-dir', tmp_path / 'w', *amp)
    assert done.status == 2, done.err
    first, second = done.err[done.err.index('error: ') :].splitlines()
    assert first.startswith('error: the loss is nan at iteration 4, learning rate 0.005; images: sample ')
    assert re.search(r'images: sample \d+, sample \d+ and 6 more, which ', first)
    assert len((tmp_path / 'w/nonfinite_loss.txt').read_text().splitlines()) == 8
    good = tmp_path / 'w/epoch_1.pth'
    assert second.startswith(f'The last good checkpoint is {good}: ')
    assert what_is_wrong(good) is None
    for file in (tmp_path / 'w').glob('*.pth'):
        state = torch.load(file, weights_only=True)['state_dict']
        assert all(torch.isfinite(tensor).all() for tensor in state.values()), file


def test_weights_that_are_not_finite_are_not_saved(run_tool, short_config, tmp_path):
    Poison.what = 'weights'
    config = short_config("custom_hooks = [dict(type='Poison')]")
    done = run_tool('train.py', config, '--work-dir', tmp_path / 'w')
    assert done.status == 2
    assert 'state_dict head.fc.weight is not finite at iteration 6: no' in done.err and 'epoch_1.pth' in done.err
    assert not (tmp_path / 'w/epoch_2.pth').exists()


@HOOKS.register_module()
class Overflow(Hook):
    """Loss scaling without a GPU, and logits that overflow before the fourth iteration."""

    weights: dict

    def before_train(self, runner):
        Overflow.weights = {}
        runner.optim_wrapper.loss_scaler = torch.amp.GradScaler('cpu', init_scale=1024.0)
        overflow = torch.tensor(float('inf'))
        runner.model.head.fc.register_forward_hook(lambda fc, inputs, out: out * overflow if runner.iter == 3 else out)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        Overflow.weights[runner.iter] = runner.model.head.fc.weight.detach().clone()


def test_amp_leaves_a_step_out_and_goes_on(check_tool, short_config, tmp_path):
    config = short_config("custom_hooks = [dict(type='Overflow')]")
    done = check_tool('train.py', config, '--work-dir', tmp_path / 'w', '--amp')
    assert 'The loss is nan at iteration 4: AMP leaves the step out.' in done.out
    weights = Overflow.weights
    assert torch.equal(weights[2], weights[3]) and not torch.equal(weights[3], weights[4])
    saved = torch.load(tmp_path / 'w/epoch_2.pth', weights_only=True)
    assert all(torch.isfinite(tensor).all() for tensor in saved['state_dict'].values())
    assert saved['optimizer']['loss_scaler']['scale'] == 512.0, 'halved once'


def runner(tmp_path, scaling, iteration=0):
    warnings = []
    optim_wrapper = SimpleNamespace(
        get_lr=lambda: dict(lr=[0.1]), loss_scaler=SimpleNamespace(is_enabled=lambda: scaling)
    )
    return SimpleNamespace(
        iter=iteration,
        work_dir=str(tmp_path),
        optim_wrapper=optim_wrapper,
        logger=SimpleNamespace(warning=warnings.append),
        warnings=warnings,
    )


def losses(hook, run, values):
    for value in values:
        hook.after_train_iter(run, 0, {}, dict(loss=torch.tensor(value)))
        run.iter += 1


def test_amp_may_leave_out_a_bounded_number_of_steps(tmp_path):
    nan = float('nan')
    hook, run = FiniteHook(max_skipped=2), runner(tmp_path, scaling=True)
    losses(hook, run, [1.0, nan, float('inf'), 1.0, nan, nan, 2.0])
    assert len(run.warnings) == 4 and 'AMP leaves the step out' in run.warnings[0]
    with pytest.raises(
        UserError, match=r'the loss is nan at iteration 10, learning rate 0\.1\.\nThere is no checkpoint'
    ):
        losses(hook, run, [nan, nan, nan])
    hook, run = FiniteHook(max_skipped=2), runner(tmp_path, scaling=False)
    with pytest.raises(UserError, match='inf at iteration 2'):
        losses(hook, run, [1.0, float('inf')])


def test_losses_that_wait_on_a_gpu_are_seen_before_a_save(tmp_path, monkeypatch):
    hook, run = FiniteHook(interval=5), runner(tmp_path, scaling=False)
    monkeypatch.setattr(hook, '_check', lambda runner, check=hook._check: check(runner) if run.checks else None)
    run.checks = False
    losses(hook, run, [1.0, float('nan'), 1.0])
    unchecked = list(hook._unchecked)
    run.checks = True
    for save in (lambda: hook.before_save_checkpoint(run, {}), lambda: hook.before_collective_save(run)):
        hook._unchecked = list(unchecked)
        with pytest.raises(UserError, match='the loss is nan at iteration 2'):
            save()


@HOOKS.register_module()
class NoVariance(Hook):
    """A running variance below 0 in the validation of the first epoch, so that its scores are NaN."""

    def before_val_epoch(self, runner):
        if runner.epoch == 1:
            runner.model.backbone.stages[0].block[0].norm1.running_var.sub_(100)

    def after_val_epoch(self, runner, metrics=None):
        if runner.epoch == 1:
            runner.model.backbone.stages[0].block[0].norm1.running_var.add_(100)


def test_a_validation_with_scores_that_are_no_numbers(check_tool, short_config, tmp_path):
    """argmax of NaNs is a class for mmpretrain's Accuracy; here the epoch is not the best, and training continues."""
    config = short_config(
        "custom_hooks = [dict(type='NoVariance')]\ndefault_hooks['checkpoint'] = dict(save_best='accuracy/top1')"
    )
    done = check_tool('train.py', config, '--work-dir', tmp_path / 'w')
    assert 'Validation: the scores of 20 of 20 images are not all numbers, among them those of sample 0.' in done.out
    assert 'accuracy/top1 nan  ' in done.out
    logged = [
        json.loads(line)
        for file in (tmp_path / 'w').glob('*/vis_data/scalars.json')
        for line in file.read_text().splitlines()
    ]
    found = [line['accuracy/top1'] for line in logged if 'accuracy/top1' in line]
    assert len(found) == 2 and math.isnan(found[0]) and found[1] >= 0
    assert [file.name for file in (tmp_path / 'w').glob('best_*')] == ['best_accuracy_top1_epoch_2.pth']


def test_metrics_become_nan_at_any_depth(tmp_path):
    hook, run = FiniteHook(), runner(tmp_path, scaling=False)
    hook.before_val(run)
    hook.after_val_iter(run, 0, {}, [DataSample(pred_score=torch.tensor([0.5, 0.5]), sample_idx=0)])
    metrics = dict(accuracy=1)
    hook.after_val_epoch(run, metrics)
    assert metrics == dict(accuracy=1) and not run.warnings
    hook.after_val_iter(run, 0, {}, [DataSample(sample_idx=1)])  # without scores
    task = DataSample(pred_score=torch.tensor([float('nan'), 0.5]))
    sample = MultiTaskDataSample(img_path='a.png')
    sample.set_field(task, 'kind')
    hook.after_val_iter(run, 1, {}, [sample])
    metrics = dict(top1=50.0, count=3, each=[1.0, dict(a=2)], matrix=torch.eye(2, dtype=int), name='x')
    hook.after_val_epoch(run, metrics)
    assert '1 of 3 images are not all numbers, among them those of a.png' in run.warnings[0]
    assert str(metrics['each']) == "[nan, {'a': nan}]" and metrics['matrix'].isnan().all() and metrics['name'] == 'x'
    assert math.isnan(metrics['top1']) and math.isnan(metrics['count'])
