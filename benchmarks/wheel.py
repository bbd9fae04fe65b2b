"""DenseNet-121 as `pip install WHEEL` gives it, beside timm and torchvision: no clone, no further command.

    python -m benchmarks.wheel

Builds the wheel, installs it into a new environment with what benchmarks/ needs, and measures there, in a folder that
has nothing of the clone but benchmarks/. Other arguments go to `python -m benchmarks` in place of the default ones.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from .report import RESULTS, ROOT

#: batch 16 and batch 1, training and evaluation; of ours the kernels that the package chooses by itself
DEFAULTS = [
    *('--arch', '121', '--batch', '16', '1', '--mode', 'train', 'eval', '--candidates', 'mmpretrain'),
    *('torchvision channels_last', 'timm channels_last', 'mmdensenet fused', 'mmdensenet fused channels_last'),
]
FROM = 'import mmdensenet; print("mmdensenet from", mmdensenet.__path__[0]); mmdensenet.show_engine()'


def main() -> None:
    parser = argparse.ArgumentParser(prog='python -m benchmarks.wheel', description=__doc__.split('\n\n')[0])
    parser.add_argument('--csv', type=Path, default=RESULTS / 'wheel.csv', help='default: benchmarks/results/wheel.csv')
    args, given = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print('building the wheel: some twenty seconds for its kernels', flush=True)
        run(sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps', '--wheel-dir', folder, ROOT)
        python = install(next(folder.glob('*.whl')), folder / 'env')
        work = folder / 'work'
        work.mkdir()
        (work / 'benchmarks').symlink_to(ROOT / 'benchmarks')  # Python finds it in the current folder
        run(python, '-c', FROM, cwd=work)
        run(python, '-m', 'benchmarks', *(given or DEFAULTS), '--csv', args.csv.resolve(), cwd=work)


def install(wheel: Path, folder: Path) -> Path:
    """The Python of a new environment with the wheel and the benchmarks' peers."""
    print(f'installing {wheel.name} and PyTorch: a minute or two', flush=True)
    venv.create(folder, with_pip=True)
    python = folder / ('Scripts' if os.name == 'nt' else 'bin') / 'python'
    constraints = ROOT / 'requirements' / 'constraints.txt'
    run(python, '-m', 'pip', 'install', '--quiet', '-c', constraints, f'{wheel}[lite,bench]')
    return python


def run(*command: str | Path, cwd: Path | None = None) -> None:
    """Run a command without what would lead it to the clone; end with it where it fails."""
    names = ('PYTHONPATH', 'PYTHONHOME', 'VIRTUAL_ENV')
    env = {key: value for key, value in os.environ.items() if key not in names}
    if status := subprocess.run([str(part) for part in command], cwd=cwd, env=env).returncode:
        sys.exit(status)


if __name__ == '__main__':
    main()
