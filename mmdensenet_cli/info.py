"""Print what a bug report needs: versions, the foundation found, kernels, processor and GPUs."""

import argparse
import atexit
import gc
import importlib.util
import os
import platform
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from .answer import CommandError
from .importing import Importing

STANDALONE = True

PACKAGES = ('torch', 'torchvision', 'triton', 'numpy', 'pillow', 'opencv-python', 'opencv-python-headless')
EXTRAS = (
    'onnx',
    'onnxruntime',
    'openvino',
    'fastapi',
    'grad-cam',
    'pydicom',
    'simplejpeg',
    'tensorboard',
    'timm',
    'mmdet',
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def run(args: argparse.Namespace) -> None:
    for name, value in [*installed(), *machine()]:  # before the import, which may be what fails
        print(f'{name + ":":14}{value}', flush=True)
    atexit.register(gc.freeze)  # else the interpreter's end looks through all objects of torch's
    importing = Importing(prints_results=True, is_done='torch' in sys.modules)
    facts = found()
    try:
        while True:
            with importing.shown():
                fact = next(facts, None)
            if fact is None:
                break
            name, value = fact
            print(f'{name + ":":14}{value}', flush=True)
    except BrokenPipeError:
        raise
    except Exception as error:  # the report is about it
        print(f'{"error:":14}{type(error).__name__}: {error}')


def installed() -> Iterator[tuple[str, str]]:
    foundation = runpy.run_path(str(package() / 'compat' / 'foundation.py'))
    versions = foundation['versions']
    yield 'mmdensenet', own_version()
    yield 'Python', f'{platform.python_version()} ({platform.python_implementation()})'
    for module, distributions in foundation['FOUNDATION'].items():
        yield module, versions(distributions) or 'not installed'
    yield 'packages', versions(PACKAGES)
    yield 'optional', versions(EXTRAS) or 'none'


def package() -> Path:
    """Return mmdensenet's folder, without importing it.

    Raises:
        CommandError: if there is none, as beside a command that an installation has left behind.
    """
    spec = importlib.util.find_spec('mmdensenet')
    if not (spec and spec.origin):
        raise CommandError(f'{sys.executable} has no mmdensenet: install it there again, or remove {sys.argv[0]}.')
    return Path(spec.origin).parent


def own_version() -> str:
    """Return the version, and whether it is a clone (with its commit) or an installed wheel."""
    scope = runpy.run_path(str(package() / 'version.py'))
    clone = package().parent
    if not (clone / 'setup.py').is_file():
        return f'{scope["__version__"]}, an installed wheel'
    commit = ''
    if (clone / '.git').exists():
        try:
            command = ['git', '-C', str(clone), 'describe', '--always', '--dirty']
            commit = subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.strip()
        except (OSError, subprocess.SubprocessError):  # no git
            pass
    return f'{scope["__version__"]}, a clone {commit}'.rstrip()


def machine() -> Iterator[tuple[str, str]]:
    yield 'system', platform.platform()
    yield 'CPU', f'{processor()}, {platform.machine()}, {core_count()} cores for this process'
    ours = {name: value for name, value in sorted(os.environ.items()) if name.startswith(('MMDENSENET_', 'OMP_'))}
    yield 'variables', ' '.join(f'{name}={value}' for name, value in ours.items()) or 'none'


def core_count() -> int:
    """The CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def processor() -> str:
    """The processor's name as Linux gives it, else as Python does, else its architecture."""
    try:
        lines = Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines()
    except OSError:
        lines = []
    names = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    return names[0] if names else platform.processor() or platform.machine()


def found() -> Iterator[tuple[str, str]]:
    """Yield the facts that need imports: GPU, engine and repairs."""
    import torch

    yield (
        'torch',
        f'{torch.__version__}, {torch.get_num_threads()} threads, CUDA {torch.version.cuda or "not built in"}',
    )
    for index in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(index)
        size = about.total_memory / 2**30
        yield f'GPU {index}', f'{about.name}, compute capability {about.major}.{about.minor}, {size:.0f} GiB'
    from mmdensenet.compat import FAULTS
    from mmdensenet.ops.show_engine import engine

    yield 'engine', f'float32 {engine()}; bfloat16 {engine(dtype=torch.bfloat16)}'
    if torch.cuda.is_available():
        yield 'engine (GPU)', f'float32 {engine("cuda")}; bfloat16 {engine("cuda", torch.bfloat16)}'
    import mmpretrain.datasets  # noqa: F401  repairs of mmpretrain wait for it

    states = [fault.state for fault in FAULTS]
    yield 'compat', ', '.join(f'{states.count(state)} repairs {state}' for state in dict.fromkeys(states))
