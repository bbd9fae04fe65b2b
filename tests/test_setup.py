"""setup.py: a wheel carries the kernels where they can be compiled, and is pure elsewhere."""

import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.slow
@pytest.mark.parametrize(
    ('env', 'said'),
    [
        ({}, None),
        ({'MMDENSENET_BUILD_KERNELS': '0'}, 'plain torch is used: MMDENSENET_BUILD_KERNELS=0'),
        ({'CXX': 'false'}, 'plain torch is used: false failed:'),
    ],
    ids=['compiled', 'left out', 'compiler fails'],
)
def test_wheel(env, said, tmp_path, run_command):
    source = tmp_path / 'source'
    parts = ('mmdensenet', 'mmdensenet_cli', 'configs', 'tools', 'requirements')
    for name in parts:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns('.mim', '*.so', '__pycache__'))
    for name in ('setup.py', 'pyproject.toml', 'README.md', 'MANIFEST.in', 'model-index.yml', 'LICENSE'):
        shutil.copy2(ROOT / name, source / name)
    if said:  # nothing that was compiled before
        env['XDG_CACHE_HOME'] = str(tmp_path / 'cache')
    done = run_command(
        sys.executable, '-m', 'pip', 'wheel', '-v', '--no-deps', '--no-build-isolation', '-w', tmp_path, source, **env
    )
    assert done.status == 0, done.err
    [wheel] = tmp_path.glob('*.whl')
    output = done.out + done.err
    if said is None:
        assert wheel.name.split('-', 2)[2].startswith('py3-none-linux_')
        assert 'kernels-' in output
    else:
        assert wheel.name.endswith('py3-none-any.whl')
        assert sum('mmdensenet without C++ kernels' in line and said in line for line in output.splitlines()) == 1
