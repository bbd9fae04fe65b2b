"""A checkpoint with a part of the wrong kind is refused in one message, before a step is trained."""

from types import SimpleNamespace

import pytest
import torch

from mmdensenet.checkpoints.checkpoint_content import _compare_optimizer, _compare_schedules, not_finite
from mmdensenet.errors import UserError


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """The bytes of a checkpoint of the short config, by its name; trained when it is first asked for."""
    return {}


@pytest.fixture
def saved(trained, check_tool, short_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = short_config()
    if not trained:
        check_tool(
            'train.py', config, '--work-dir', 'first', '--no-validate', '--cfg-options', 'train_cfg.max_epochs=1'
        )
        trained['content'] = torch.load('first/epoch_1.pth', weights_only=True)
    return config, dict(trained['content'])


HUB = dict(log_scalars={}, runtime_info={}, resumed_keys={})


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(meta='x'), "meta is 'x', not a dict"),
        (dict(meta=dict(iter=4)), 'meta.epoch is missing'),
        (dict(meta=dict(epoch='3', iter=4)), "meta.epoch is '3', not a number"),
        (dict(meta=dict(epoch=1, iter=-4)), 'meta.iter is -4'),
        (dict(meta=dict(epoch=1, iter=4, seed='x')), "meta.seed is 'x'"),
        (dict(meta=None), 'meta is missing'),
        (dict(message_hub=None), 'message_hub is missing'),
        (dict(message_hub={**HUB, 'log_scalars': 3}), 'message_hub.log_scalars is 3'),
        (dict(message_hub={**HUB, 'resumed_keys': None}), 'message_hub.resumed_keys is missing'),
        (dict(optimizer=[1, 2]), 'optimizer is a list'),
        (dict(optimizer=dict(state={}, param_groups=[])), 'its optimizer is for 0 parameters in 0 groups'),
        (dict(optimizer=dict(state=[], param_groups=[])), 'optimizer.state is a list'),
        (dict(optimizer=None), 'has no state of the optimizer'),
        (dict(param_schedulers=None), 'has no state of the schedule'),
        (dict(param_schedulers='x'), "param_schedulers is 'x'"),
        (dict(param_schedulers=[dict(last_step='x')]), "param_schedulers[0].last_step is 'x'"),
        (dict(param_schedulers=[dict(last_step=1, _global_step=1, step=3)]), 'param_schedulers[0].step is 3'),
        (dict(param_schedulers=[dict(last_step=1, _global_step=1, base_values=['x'])]), 'base_values'),
        (dict(state_dict=[1]), 'state_dict is a list'),
        (dict(state_dict={1: torch.ones(1)}), 'state_dict is a dict, not tensors by name'),
    ],
)
def test_resume_refuses(saved, run_tool, change, message):
    config, content = saved
    content.update(change)
    torch.save({key: value for key, value in content.items() if value is not None}, 'changed.pth')
    done = run_tool('train.py', config, '--work-dir', 'w', '--no-validate', '--resume', 'changed.pth')
    assert done.status == 2, done.err
    assert 'changed.pth' in done.err and message in done.err
    assert 'Epoch(train)' not in done.out + done.err, 'nothing was trained'


def test_settings_of_groups_and_schedules_of_several_optimizers():
    group = dict(params=[0], lr=0.1, betas=(0.9, 0.99))
    ours = dict(state={}, param_groups=[group])
    for wrong, message in ((dict(lr='x'), r"\[0\]\.lr is 'x', not a number"), (dict(betas=0.9), 'betas is a float')):
        given = dict(state={}, param_groups=[group | wrong])
        for named in (lambda part: part, lambda part: dict(a=part)):
            with pytest.raises(UserError, match=message):
                _compare_optimizer(named(given), named(ours), 'file')
            _compare_optimizer(named(ours), named(ours), 'file')
    runner = SimpleNamespace(param_schedulers=dict(a=[], b=[]))
    _compare_schedules(runner, dict(a=[], b=[]), 'file')
    for given in ([], dict(a=[])):
        with pytest.raises(UserError, match=r'param_schedulers is a .*, not a dict of lists'):
            _compare_schedules(runner, given, 'file')


def test_resume_names_load_from_for_weights(saved, run_tool):
    config, content = saved
    torch.save(dict(state_dict=content['state_dict'], meta=content['meta']), 'best_accuracy.pth')
    done = run_tool('train.py', config, '--work-dir', 'w', '--no-validate', '--resume', 'best_accuracy.pth')
    assert done.status == 2 and 'load_from=' in done.err


def test_resume_accepts_a_valid_checkpoint(saved, check_tool):
    config, content = saved
    torch.save(content, 'same.pth')
    check_tool('train.py', config, '--work-dir', 'w', '--no-validate', '--resume', 'same.pth')


@pytest.mark.parametrize('tool', ['test.py', 'predict.py'])
def test_weights_of_the_wrong_kind(saved, run_tool, tool):
    config, _ = saved
    torch.save(dict(state_dict=[1]), 'list.pth')
    if tool == 'test.py':
        done = run_tool(tool, config, 'list.pth', '--work-dir', 'w')
    else:
        torch.save({}, 'image.jpg')
        done = run_tool(tool, 'image.jpg', '--model', config, '--checkpoint', 'list.pth')
    assert done.status == 2 and 'list.pth' in done.err and 'state_dict is a list' in done.err


def test_what_is_not_finite_is_counted():
    from mmdensenet.checkpoints.checkpoint_content import not_finite

    state = dict(a=torch.zeros(3), b=torch.tensor([1.0, float('nan')]), c=torch.tensor(5), d='text')
    assert not_finite(dict(a=state['a'], c=state['c'], d='text')) is None
    assert not_finite(state) == '1 tensor has values that are not finite (NaN or infinity), the first b'
    state['e'] = torch.tensor([float('-inf')], dtype=torch.float16)
    assert not_finite(state) == '2 tensors have values that are not finite (NaN or infinity), the first b'


@pytest.mark.parametrize('kind', ['float64', 'float16', 'float8_e4m3fn', 'float8_e5m2', 'float4_e2m1fn_x2'])
def test_numbers_of_any_width_are_looked_at(kind):
    dtype = getattr(torch, kind)
    fine = dict(a=torch.zeros(8, dtype=torch.uint8).view(dtype))
    assert not_finite(fine) is None
    if kind != 'float4_e2m1fn_x2':
        assert '1 tensor has values' in not_finite(dict(fine, b=torch.full((2,), float('nan')).to(dtype)))
