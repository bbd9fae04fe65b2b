"""Fixtures for all tests: small data made here, tools run in this process or in one of their own."""

import gc
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

if not torch.cuda.is_available():
    # Triton's kernels run in its interpreter, which must be on before anything imports Triton
    os.environ['TRITON_INTERPRET'] = '1'
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer
from PIL import Image

import mmdensenet  # noqa: F401  before anything imports torchvision

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / 'configs'
TOOLS = ROOT / 'tools'
DIGITS = CONFIGS / 'densenet-bc-l22-k12_1xb32_digits.py'

torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope='session')
def yapf_layout():
    """mmengine spends more than a small training takes on laying out its config, for each file, and on a pause of two
    seconds when a training by iterations has seen all data: here it writes configs as they are, and goes on at once.

    Gives what would lay out a text: ``yapf_layout(text)`` is ``(text, True)``.
    """
    from yapf.yapflib import yapf_api

    layout = yapf_api.FormatCode
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yapf_api, 'FormatCode', lambda text, **options: (text, True))  # later versions of mmengine's
        patch.setattr('mmengine.config.config.FormatCode', yapf_api.FormatCode, raising=False)
        patch.setattr('mmengine.runner.loops.time', SimpleNamespace(sleep=lambda seconds: None))
        yield layout


@pytest.fixture(autouse=True)
def fresh_state():
    freeze_imported()
    torch.set_num_threads(1)  # a test may have left more, with which a forked process would wait for ever
    yield
    clear_state()


_frozen = 0


def freeze_imported() -> None:
    """Hide what imports have made from the garbage collector, which mmengine starts for every data set it builds."""
    global _frozen
    if len(sys.modules) > _frozen + 50:
        gc.collect()
        gc.freeze()
        _frozen = len(sys.modules)


def clear_state() -> None:
    """mmengine keeps loggers, visualizers and scopes under names with a time stamp of one second: forget them."""
    for manager in (MMLogger, MessageHub, Visualizer, DefaultScope):
        for cls in [manager, *_subclasses(manager)]:
            if '_instance_dict' in vars(cls):
                cls._instance_dict.clear()


def _subclasses(cls: type) -> list[type]:
    return [sub for child in cls.__subclasses__() for sub in (child, *_subclasses(child))]


@dataclass
class Outcome:
    status: int
    out: str
    err: str


@pytest.fixture
def run_here(capfd, monkeypatch):
    """Call a function as a program of this process would be: ``run_here(arguments, function)``."""

    def run(arguments: list[str | Path], function: Callable[[], object]) -> Outcome:
        monkeypatch.setattr(sys, 'argv', list(map(str, arguments)))
        capfd.readouterr()
        status = 0
        try:
            function()
        except SystemExit as stop:
            status = stop.code or 0
        out, err = capfd.readouterr()
        return Outcome(status, out, err)

    return run


@pytest.fixture
def run_tool(run_here):
    """Run a tool of tools/ in this process, for importing mmpretrain costs seconds: ``run_tool('train.py', ...)``."""

    def run(name: str, *args: str | Path) -> Outcome:
        return run_here([name, *args], lambda: runpy.run_path(str(TOOLS / name), run_name='__main__'))

    return run


@pytest.fixture
def check_tool(run_tool):
    """``run_tool`` for a tool that has to succeed."""

    def check(name: str, *args: str | Path) -> Outcome:
        done = run_tool(name, *args)
        assert done.status == 0, done.out + done.err
        return done

    return check


@pytest.fixture
def run_command():
    """Run a command in a process of its own, from the repository's root, without colours and without our variables."""

    def run(*command: str | Path, timeout: float = 240, cwd: Path = ROOT, **env: str) -> Outcome:
        names = ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT', 'PYTEST_CURRENT_TEST')
        inherited = {key: value for key, value in os.environ.items() if key not in names}
        if 'PYTHONPATH' in env:  # mmdensenet may be found by the present one only
            env['PYTHONPATH'] = os.pathsep.join((env['PYTHONPATH'], str(ROOT)))
        done = subprocess.run(
            [str(part) for part in command],
            cwd=cwd,
            env={**inherited, 'PYTHON': sys.executable, 'OMP_NUM_THREADS': '1', 'MKL_NUM_THREADS': '1', **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run


def write_images(folder: Path, classes: int = 3, per_class: int = 4, size: int = 16, seed: int = 0) -> Path:
    """Class folders of small random JPEGs: folder/class_0/0.jpg and so on."""
    rng = np.random.default_rng(seed)
    for label in range(classes):
        target = folder / f'class_{label}'
        target.mkdir(parents=True, exist_ok=True)
        for i in range(per_class):
            pixels = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(target / f'{i}.jpg')
    return folder


@pytest.fixture
def image_folder(tmp_path) -> Path:
    """Three classes with four 16x16 images each."""
    return write_images(tmp_path / 'images')


SHORT = """_base_ = {digits!r}
model = dict(backbone=dict(arch=dict(growth_rate=4, depths=(1, 2), init_channels=8)), head=dict(in_channels=14))
train_dataloader = dict(batch_size=8, dataset=dict(indices={images}))
val_dataloader = dict(dataset=dict(indices=20))
test_dataloader = dict(dataset=dict(indices=20))
train_cfg = dict(max_epochs=2)
param_scheduler = dict(milestones=[1])
default_hooks = dict(logger=dict(interval=1))
{extra}
"""


def write_short_config(file: Path, extra: str = '', images: int = 24) -> Path:
    file.write_text(SHORT.format(digits=str(DIGITS), images=images, extra=extra))
    return file


@pytest.fixture
def short_config(tmp_path):
    """A config file that inherits the digits config but trains for a few iterations on a few images.

    ``short_config(extra)`` appends Python lines to it.
    """

    def write(extra: str = '', name: str = 'short.py', images: int = 24) -> Path:
        return write_short_config(tmp_path / name, extra, images)

    return write
