"""Out of memory: the message has the batch size and the largest power of two that the measured memory allows."""

import re
import sys
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from mmdensenet.apis import train_model
from mmdensenet.errors import UserError
from mmdensenet.training import memory
from mmdensenet.training.memory import is_out_of_memory, largest_power_of_two, measure

MESSAGE = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 4398046511104 bytes. Error code 12"


@pytest.mark.parametrize(
    ('number', 'below', 'expected'),
    [(0.9, 8, 0), (1, 8, 1), (7.9, 64, 4), (8, 64, 8), (1000, 64, 32), (1000, 65, 64), (5, 1, 0), (-3, 8, 0)],
)
def test_largest_power_of_two(number, below, expected):
    assert largest_power_of_two(number, below) == expected


@pytest.mark.parametrize(
    ('error', 'expected'),
    [
        (torch.OutOfMemoryError('CUDA out of memory'), True),
        (MemoryError(), True),
        (RuntimeError(MESSAGE), True),
        (RuntimeError('shapes'), False),
        (ValueError(MESSAGE), False),
    ],
)
def test_what_is_out_of_memory(error, expected):
    assert is_out_of_memory(error) is expected


def test_torchs_own_message():
    with pytest.raises(RuntimeError) as error:
        torch.empty(1 << 60)
    assert is_out_of_memory(error.value)


@HOOKS.register_module()
class Eater(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        raise RuntimeError(MESSAGE)


@pytest.mark.parametrize(('room', 'fits'), [(5.2, 4), (2.1, 2), (100, 4), (0.5, None)])
def test_message(run_tool, short_config, tmp_path, monkeypatch, room, fits):
    """The numbers of the memory are made here; they are measured below."""
    monkeypatch.setattr(memory, 'measure', lambda runner, device, part: (1000.0, 10 * 2**20))
    monkeypatch.setattr(memory, 'available_bytes', lambda device: (1000 + room * 10 * 2**20) / memory._SHARE_ON_CPU)
    done = run_tool('train.py', short_config("custom_hooks = [dict(type='Eater')]"), '--work-dir', tmp_path / 'w')
    assert done.status == 2, done.err
    first, second = done.err[done.err.index('error: ') :].splitlines()
    assert first == 'error: out of memory on cpu in training with train_dataloader.batch_size=8.'
    if fits is None:
        assert 'Not even one image fits' in second
    else:
        assert f'train_dataloader.batch_size={fits}: measured, 0 MiB and 10.0 MiB for each image' in second
        assert f'accumulative_counts={8 // fits} keeps the batch' in second


def test_a_step_in_which_pages_are_reclaimed(monkeypatch):
    """As by a system that reclaims memory of processes: two of five measurements of each are too small."""
    needed = iter([8, 14, 8, 16, 3, 16, 8, 16, 6, 9])
    peaks = iter(value for more in needed for value in (100, 100 + more))
    monkeypatch.setattr(memory, 'reset_peak', lambda device: None)
    monkeypatch.setattr(memory, 'peak', lambda device: next(peaks))
    monkeypatch.setattr(memory, '_step', lambda runner, count, part: None)
    assert measure(None, torch.device('cpu'), part='val') == (100, 4)


@HOOKS.register_module()
class LateEater(Hook):
    def before_val_iter(self, runner, batch_idx, data_batch=None):
        raise RuntimeError(MESSAGE)

    before_test_iter = before_val_iter


@pytest.mark.skipif(sys.platform != 'linux', reason='the peak is read as Linux has it')
def test_validation_and_test(run_tool, short_config, tmp_path):
    """Predictions are measured there, not training steps."""
    config = short_config("custom_hooks = [dict(type='LateEater')]")
    done = run_tool('train.py', config, '--work-dir', tmp_path / 'w', '--cfg-options', 'val_dataloader.batch_size=16')
    assert done.status == 2, done.err
    first, second = done.err[done.err.index('error: ') :].splitlines()
    assert first == 'error: out of memory on cpu in validation with val_dataloader.batch_size=16.'
    assert second.startswith('Set --cfg-options val_dataloader.batch_size=8: measured, ') and 'accumul' not in second
    options = ['--work-dir', tmp_path / 't', '--cfg-options', 'test_dataloader.batch_size=16']
    done = run_tool('test.py', config, tmp_path / 'w/epoch_1.pth', *options)
    assert done.status == 2, done.err
    assert 'in testing with test_dataloader.batch_size=16.\nSet --cfg-options test_dataloader.batch_size=8' in done.err


@pytest.mark.skipif(sys.platform != 'linux', reason='the peak is read as Linux has it')
def test_measured(short_config, tmp_path, monkeypatch):
    """A layer whose activations are known: two of 16 MB an image each way."""

    class Wide(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1 << 22))
            self.data_preprocessor = lambda data, training: data
            self.parse_losses = lambda losses: (losses['loss'], {})

        def forward(self, inputs, mode):
            return dict(loss=((inputs[:, None] * self.weight) ** 2).sum())

    model = Wide()
    wrapper = SimpleNamespace(
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        zero_grad=lambda: model.zero_grad(set_to_none=True),
        optim_context=lambda model: torch.autocast('cpu', enabled=False),
    )
    loader = SimpleNamespace(dataset=[torch.tensor(1.0)] * 4, collate_fn=lambda s: dict(inputs=torch.stack(s)))
    runner = SimpleNamespace(model=model, optim_wrapper=wrapper, train_dataloader=loader)
    memory._step(runner, 2)
    constant, share = measure(runner, torch.device('cpu'))
    image = (1 << 22) * 4
    assert share == pytest.approx(4 * image, rel=0.05), 'product, square and the gradients of both'
    assert constant >= 2 * image


def test_when_nothing_can_be_measured(short_config, tmp_path, monkeypatch):
    def fail(runner, device, part):
        raise RuntimeError(MESSAGE)

    monkeypatch.setattr(memory, 'measure', fail)
    with pytest.raises(UserError, match=r'batch_size=8\.\nSet a smaller one'):
        train_model(str(short_config("custom_hooks = [dict(type='Eater')]")), work_dir=str(tmp_path))


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_the_advice_fits_on_a_gpu(short_config, tmp_path):
    torch.cuda.set_per_process_memory_fraction(0.01)
    extra = """
train_dataloader['dataset']['indices'] = 1347
model['backbone']['arch'] = dict(growth_rate=64, depths=(12, 12), init_channels=64)
model['head']['in_channels'] = 1184
"""
    try:
        options = {'train_dataloader.batch_size': 1024}
        with pytest.raises(UserError) as error:
            train_model(str(short_config(extra)), work_dir=str(tmp_path / 'a'), cfg_options=options)
        fits = int(re.search(r'train_dataloader\.batch_size=(\d+): ', str(error.value))[1])
        options = {'train_dataloader.batch_size': fits, 'train_cfg.max_epochs': 1}
        train_model(str(short_config(extra)), work_dir=str(tmp_path / 'b'), cfg_options=options)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
