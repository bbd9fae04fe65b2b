"""The launch scripts with real processes: gloo, two ranks, two nodes, a killed rank, slurm's stand-in."""

import os
import re
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from conftest import ROOT, TOOLS
from helpers import assert_same, load_weights
from support.forks import free_port, on_two_ranks, tool

KILLER = '''
import os, signal
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

@HOOKS.register_module()
class Killer(Hook):
    """Kills the second rank in its fifth iteration, the first time."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == 4 and runner.rank == 1 and os.environ['TORCHELASTIC_RESTART_COUNT'] == '0':
            os.kill(os.getpid(), signal.SIGKILL)
'''


@pytest.mark.parametrize('way', ['forked', pytest.param('scripts', marks=pytest.mark.slow)])
def test_two_processes_equal_one_with_twice_the_batch(run_command, run_tool, check_tool, short_config, tmp_path, way):
    """With synchronised statistics and without augmentation; float32 here, float64 in tests/ops."""

    def on_two(name, *arguments, work_dir):
        if way == 'scripts':
            done = run_command('bash', TOOLS / f'dist_{name}.sh', *arguments, '2', '--work-dir', work_dir)
            assert done.status == 0, done.out + done.err
            return done.out + done.err
        run = tool(f'{name}.py', *arguments, '--launcher', 'pytorch', '--work-dir', work_dir)
        statuses, out = on_two_ranks(run, tmp_path / f'of_{name}')
        assert statuses == [0, 0], out
        return out

    pipeline = "train_dataloader = dict(batch_size={}, dataset=dict(indices=24, pipeline=[dict(type='PackInputs')]))"
    sync = "model['backbone']['norm_cfg'] = dict(type='SyncBN')"
    two = short_config(f'{sync}\n{pipeline.format(4)}', name='two.py')
    one = short_config(f'{sync}\n{pipeline.format(8)}', name='one.py')
    printed = on_two('train', two, work_dir=tmp_path / 'two')
    assert 'warning' not in printed.lower(), printed
    check_tool('train.py', one, '--work-dir', tmp_path / 'one')
    split, whole = load_weights(tmp_path / 'two/epoch_2.pth'), load_weights(tmp_path / 'one/epoch_2.pth')
    assert split.keys() == whole.keys()
    for name, value in whole.items():
        assert_same(split[name].double(), value.double(), 1e-4, name)

    # test.py with two processes gives what one gives
    arguments = (two, tmp_path / 'two/epoch_2.pth')
    printed = on_two('test', *arguments, work_dir=tmp_path / 't')
    alone = run_tool('test.py', *arguments, '--work-dir', tmp_path / 't')
    line = next(line for line in alone.out.splitlines() if line.startswith('accuracy/top1: '))
    assert line in printed.splitlines()


@pytest.mark.slow
def test_a_mistake_ends_the_script_with_status_2(run_command):
    done = run_command('bash', TOOLS / 'dist_train.sh', 'configs/nope.py', '2')
    assert done.status == 2
    assert done.err.count('config configs/nope.py does not exist') == 1
    assert 'Traceback' not in done.err


def test_forgotten_number_of_processes(run_command):
    done = run_command('bash', TOOLS / 'dist_train.sh', 'configs/nope.py', '--amp')
    assert done.status == 2 and "GPUS must be a number, not '--amp'" in done.err


@pytest.mark.parametrize('script', ['dist_train.sh', 'dist_test.sh', 'slurm_train.sh', 'slurm_test.sh'])
def test_usage(run_command, script):
    done = run_command('bash', TOOLS / script)
    assert done.status == 2 and 'usage' in done.err and 'CONFIG' in done.err


@pytest.mark.slow
def test_two_nodes(short_config, tmp_path):
    """Two one-process nodes on this machine, the second started first."""
    config, port = short_config(), free_port()

    def node(rank):
        if rank == 0:
            time.sleep(2)
        names = dict(NNODES='2', NODE_RANK=str(rank), MASTER_ADDR='127.0.0.1', PORT=port, LOCAL_ADDR='127.0.0.1')
        names |= dict(PYTHON=sys.executable, OMP_NUM_THREADS='1')
        return subprocess.run(
            ['bash', TOOLS / 'dist_train.sh', config, '1', '--work-dir', tmp_path / 'w'],
            env={**os.environ, **names},
            capture_output=True,
            text=True,
            timeout=240,
            cwd=ROOT,
        )

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(node, range(2)))
    for done in results:
        assert done.returncode == 0, done.stdout + done.stderr
    # 24 images in batches of 8: two iterations an epoch on two nodes, three on one
    assert torch.load(tmp_path / 'w/epoch_2.pth', weights_only=True)['meta']['iter'] == 4


@pytest.mark.slow
def test_a_killed_rank_is_restarted_and_resumes(run_command, short_config, tmp_path):
    (tmp_path / 'killer.py').write_text(KILLER)
    config = short_config(
        "custom_imports = dict(imports=['mmdensenet', 'killer'])\ncustom_hooks = [dict(type='Killer')]", images=48
    )
    command = ('bash', TOOLS / 'dist_train.sh', config, '2', '--work-dir', tmp_path / 'w')
    done = run_command(*command, MAX_RESTARTS='1', PYTHONPATH=str(tmp_path))
    assert done.status == 0, done.out + done.err
    assert 'resumed epoch: 1, iter: 3' in done.out
    assert torch.load(tmp_path / 'w/epoch_2.pth', weights_only=True)['meta']['iter'] == 6

    done = run_command(*command[:-1], tmp_path / 'w2', PYTHONPATH=str(tmp_path))
    assert done.status == 137, 'without restarts the signal is passed on'
    assert 'rank 1 was killed by signal 9' in done.err


@pytest.mark.slow
def test_slurm_scripts(run_command, short_config, tmp_path):
    """A stand-in for srun shows its arguments and runs the command as the one task of a job."""
    tools = {
        'srun': """#!/usr/bin/env bash
echo "srun $*"
while [ "${1:0:1}" = - ]; do if [ "$1" = -p ]; then shift; fi; shift; done
SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NTASKS=1 SLURM_NODELIST=localhost exec "$@"
""",
        'scontrol': '#!/usr/bin/env bash\necho 127.0.0.1\n',
    }
    for name, text in tools.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod((tmp_path / name).stat().st_mode | stat.S_IEXEC)
    env = dict(PATH=f'{tmp_path}:{os.environ["PATH"]}', GPUS='1', GPUS_PER_NODE='0', SRUN_ARGS='--time=5 --mem=2G')
    env |= dict(MASTER_PORT=free_port())
    config = short_config()
    options = ('--cfg-options', 'train_cfg.max_epochs=1')
    done = run_command('bash', TOOLS / 'slurm_train.sh', 'part', 'job', config, tmp_path / 'w', *options, **env)
    assert done.status == 0, done.out + done.err
    first = done.out.splitlines()[0]
    options = '-p part', '--job-name=job', '--ntasks=1', '--cpus-per-task=5', '--time=5 --mem=2G', '--launcher=slurm'
    assert all(option in first for option in options), first
    assert '--gres' not in first

    (tmp_path / 'srun').write_text('#!/usr/bin/env bash\necho "srun $*"\n')
    env |= dict(GPUS_PER_NODE='4', GPUS='8')
    done = run_command('bash', TOOLS / 'slurm_test.sh', 'part', 'job', config, 'x.pth', **env)
    assert re.search(r'--gres=gpu:4 --ntasks-per-node=4 .*test\.py .* x\.pth --launcher=slurm', done.out), done.out
