"""Run the tests on the other foundations: a pre-release of mmengine, and the OneDL forks. `make test-foundations`

Each has an environment of its own in .venv/foundations: links to all that .venv has, without the packages that are
replaced, and those installed. Nothing is installed twice, and .venv stays as it is.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: name -> modules that are replaced, and what is installed in their place
FOUNDATIONS = {
    'mmengine-rc': (('mmengine',), ('mmengine==0.11.0rc3',)),
    'onedl': (('mmengine', 'mmpretrain'), ('onedl-mmengine==0.10.12', 'onedl-mmpretrain==1.3.6')),
}
DIGITS = 'mmdensenet::densenet-bc-l22-k12_1xb32_digits'


def make_environment(name: str) -> Path:
    """The environment's Python; it is made once, again where another version is wanted."""
    modules, packages = FOUNDATIONS[name]
    folder = ROOT / '.venv/foundations' / name
    python, made = folder / 'bin/python', folder / 'made_of.txt'
    if made.is_file() and made.read_text() == ' '.join(packages):
        return python
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=False)
    shared = Path(sysconfig.get_paths()['purelib'])
    own = folder / shared.relative_to(sys.prefix)
    left_out = ('mmdensenet', '__editable__', '__pycache__', *modules)
    for entry in shared.iterdir():
        if not entry.name.startswith(left_out):
            (own / entry.name).symlink_to(entry, target_is_directory=entry.is_dir())
    run(sys.executable, '-m', 'pip', '--python', python, 'install', '--quiet', '--no-deps', *packages)
    made.write_text(' '.join(packages))
    return python


def check_installation(python: Path, name: str) -> None:
    """What an installation of ours would install there: itself, and nothing that overwrites the foundation."""
    for wanted in (ROOT, f'{ROOT}[onedl]') if name == 'onedl' else (ROOT, f'{ROOT}[lite]'):
        command = ('-m', 'pip', '--python', python, 'install', '--dry-run', '--quiet', '--no-build-isolation')
        report = run(sys.executable, *command, '--pre', '--report', '-', wanted, capture=True)
        new = [item['metadata']['name'] for item in json.loads(report)['install']]
        assert new == ['mmdensenet'], f'{wanted} would install {new} in the environment {name}'


def train_digits(python: Path, work_dir: Path) -> float:
    """Top-1 accuracy after the demo's training."""
    shutil.rmtree(work_dir, ignore_errors=True)
    run(python, '-m', 'mmdensenet', 'train', DIGITS, '--work-dir', work_dir, capture=True)
    out = work_dir / 'metrics.json'
    command = ('-m', 'mmdensenet', 'test', DIGITS, work_dir / 'epoch_20.pth')
    run(python, *command, '--work-dir', work_dir / 'test', '--out', out, '--out-item', 'metrics', capture=True)
    return json.loads(out.read_text())['accuracy/top1']


def run(*command, capture: bool = False) -> str:
    words = [str(word) for word in command]
    env = {**os.environ, 'PYTHONPATH': str(ROOT), 'MMDENSENET_BUILD_KERNELS': '0'}
    done = subprocess.run(words, cwd=ROOT, env=env, text=True, stdout=subprocess.PIPE if capture else None)
    if done.returncode:
        sys.exit(f'{" ".join(words)} ended with {done.returncode}\n{(done.stdout or "")[-3000:]}')
    return done.stdout or ''


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--only', choices=FOUNDATIONS, help='one of the foundations')
    parser.add_argument('--digits', action='store_true', help='train on the digits too')
    parser.add_argument('pytest', nargs='*', help='arguments for pytest, after --')
    args = parser.parse_args()
    for name in [args.only] if args.only else FOUNDATIONS:
        python = make_environment(name)
        print(run(python, '-c', DESCRIBE, capture=True).strip(), flush=True)
        check_installation(python, name)
        run(python, '-m', 'pytest', '-p', 'no:cacheprovider', *args.pytest)
        if args.digits:
            accuracy = train_digits(python, ROOT / 'work_dirs/foundations' / name)
            print(f'{name}: {accuracy:.2f} % top-1 on the digits', flush=True)
            assert accuracy >= 98


DESCRIBE = 'from mmdensenet.compat import foundation; print("On", foundation.describe())'

if __name__ == '__main__':
    main()
