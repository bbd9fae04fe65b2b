"""The live bar, on a real pseudo-terminal."""

import os
import pty
import re
import subprocess
import sys

import pytest
from conftest import ROOT, TOOLS


def run_on_terminal(command, timeout=120) -> tuple[int, str]:
    master, slave = pty.openpty()
    env = {**os.environ, 'OMP_NUM_THREADS': '1', 'MKL_NUM_THREADS': '1', 'TERM': 'xterm', 'COLUMNS': '100'}
    process = subprocess.Popen(
        [str(c) for c in command], stdin=slave, stdout=slave, stderr=slave, close_fds=True, cwd=ROOT, env=env
    )
    os.close(slave)
    output = b''
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # the other side is closed
            break
        if not part:
            break
        output += part
    os.close(master)
    return process.wait(timeout), output.decode(errors='replace')


def test_bar_with_time_left_below_the_log(short_config, tmp_path):
    command = [sys.executable, TOOLS / 'train.py', short_config(), '--work-dir', tmp_path / 'w']
    status, output = run_on_terminal(command)
    assert status == 0, output
    plain = re.sub(r'\x1b\[[0-9;?]*[a-zA-Z]', '', output)
    assert re.search(r'train .*━.* \d/6 \d:\d\d:\d\d left (\d|-)', plain), plain[-2000:]
    assert re.search(r'val .*━.* \d/1 ', plain)
    lines = [line for line in plain.replace('\r', '\n').splitlines() if 'epoch' in line and 'loss' in line]
    assert [re.match(r'epoch (\d)/2  loss \d\.\d{4}  accuracy/top1 ', line)[1] for line in lines] == ['1', '2']
    assert 'INFO' not in plain
    assert output.count('\x1b[?25l') == output.count('\x1b[?25h'), 'the cursor comes back'
    log = next((tmp_path / 'w').glob('*/*.log')).read_text()
    assert '━' not in log and '\x1b' not in log


@pytest.mark.slow
def test_cursor_comes_back_after_a_mistake(short_config, tmp_path):
    config = short_config(
        "custom_imports = dict(imports=['mmdensenet', 'fails_later'])\ncustom_hooks = [dict(type='Fails')]"
    )
    (tmp_path / 'fails_later.py').write_text(
        'from mmengine.hooks import Hook\nfrom mmengine.registry import HOOKS\n'
        'from mmdensenet.errors import UserError\n'
        '@HOOKS.register_module()\nclass Fails(Hook):\n'
        '    def after_train_iter(self, runner, *args, **kwargs):\n'
        "        if runner.iter == 2:\n            raise UserError('the third iteration does not work')\n"
    )
    command = [
        'env',
        f'PYTHONPATH={tmp_path}{os.pathsep}{ROOT}',
        sys.executable,
        TOOLS / 'train.py',
        config,
        '--work-dir',
        tmp_path / 'w',
    ]
    status, output = run_on_terminal(command)
    assert status == 2
    assert 'error: the third iteration does not work' in output
    assert output.count('\x1b[?25l') == output.count('\x1b[?25h') == 1
