"""Training is killed at random moments and resumed; its end is compared. `make kill-test` does it 200 times."""

import json
import re
import sys

import pytest
import torch
from conftest import ROOT, TOOLS
from helpers import assert_equal


def kill(run_command, *arguments, timeout=240):
    done = run_command(sys.executable, ROOT / 'tests/scripts/kill_loop.py', *arguments, timeout=timeout)
    assert done.status == 0, done.out + done.err
    return json.loads(done.out.splitlines()[-1])


@pytest.mark.slow
def test_five_kills(run_command):
    """One in a step, one in a save, one in a validation, a SIGTERM, and the death of a data loader's worker."""
    result = kill(run_command, '--kills', '5')
    assert result['kills'] == 5 and result['runs'] >= 1


@pytest.mark.slow
@pytest.mark.parametrize(('kills', 'workers', 'keep'), [('12', '0', '1'), ('8', '2', '3')])
def test_twenty_kills(run_command, kills, workers, keep):
    result = kill(run_command, '--kills', kills, '--workers', workers, '--keep', keep)
    assert result['kills'] == int(kills)


KILLER = '''
import os, signal, time
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

@HOOKS.register_module()
class Killer(Hook):
    """A signal for the second rank in its fifth iteration, or for the launcher, the first time."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == 4 and runner.rank == 1 and not os.path.exists(os.environ['KILLED']):
            open(os.environ['KILLED'], 'w').close()
            launcher = os.environ['WHO'] == 'launcher'
            os.kill(os.getppid() if launcher else os.getpid(), getattr(signal, os.environ['SIGNAL']))
            if launcher:
                time.sleep(3)  # until it has passed it on
'''


@pytest.mark.slow
@pytest.mark.parametrize(
    ('who', 'name', 'status'),
    [('rank', 'SIGKILL', 0), ('rank', 'SIGTERM', 143), ('launcher', 'SIGINT', 130)],
)
def test_two_processes_resume_where_they_were(run_command, short_config, tmp_path, who, name, status):
    """A killed rank makes the job restart and resume; on SIGTERM and Ctrl-C all ranks stop and save together."""
    (tmp_path / 'killer.py').write_text(KILLER)
    config = short_config(
        """
custom_imports = dict(imports=['mmdensenet', 'killer'])
custom_hooks = [dict(type='Killer'), dict(type='EMAHook', momentum=0.1)]
model['backbone']['drop_rate'] = 0.3
default_hooks['exact_resume'] = dict(type='mmdensenet.ExactResumeHook', interval=2, agree_interval=1)
""",
        images=48,
    )
    common = dict(PYTHONPATH=str(tmp_path), SIGNAL=name, WHO=who)
    command = ('bash', TOOLS / 'dist_train.sh', config, '2', '--work-dir')
    (tmp_path / 'yes').touch()
    done = run_command(*command, tmp_path / 'straight', KILLED=str(tmp_path / 'yes'), **common)
    assert done.status == 0, done.out + done.err
    common['KILLED'] = str(tmp_path / 'no')
    done = run_command(*command, tmp_path / 'w', MAX_RESTARTS='1' if name == 'SIGKILL' else '0', **common)
    assert done.status == status, done.out + done.err
    assert 'Traceback' not in done.err or name == 'SIGKILL', done.err
    if name != 'SIGKILL':
        assert (tmp_path / 'w/resume_iter_5.pth').is_file()
        done = run_command(*command, tmp_path / 'w', '--resume', **common)
        assert done.status == 0, done.out + done.err
    assert re.search(rf'resumed epoch: 1, iter: {4 if name == "SIGKILL" else 5}', done.out), done.out
    files = [torch.load(tmp_path / folder / 'epoch_2.pth', weights_only=True) for folder in ('straight', 'w')]
    for part in ('state_dict', 'ema_state_dict'):
        assert_equal(files[1][part], files[0][part])
    assert len(files[1]['exact_resume']['random']) == 2
