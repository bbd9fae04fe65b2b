"""A reader who goes through a page of the documentation, and runs what it shows."""

import ast
import contextlib
import fnmatch
import os
import re
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, Outcome, clear_state
from doc_pages import Block, Command, words
from doc_sandbox import PLACEHOLDERS, checkout, stand_ins
from file_server import served
from mmengine.config import Config
from mmengine.visualization import Visualizer

import mmdensenet_cli.main
from mmdensenet.apis import config as configs

CONFIG_KEYS = configs.KNOWN_KEYS | {'_base_'}
ELSEWHERE = 'https://example.org/'  # is served here
SERVER = 'http://127.0.0.1:8000'  # of tools/serve.py, which gets a free port here
WITHOUT_DOWNLOAD = {
    'pretrained=True': "pretrained='random/densenet121.pth'",
    "open_inferencer('densenet121')": "open_inferencer('densenet121', 'random/densenet121.pth')",
}
PATTERN = re.compile('|'.join(rf'\b{re.escape(name)}\b' for name in PLACEHOLDERS))


class Session:
    """A reader who goes through a page in ``folder``."""

    def __init__(self, folder: Path, run_here, run_tool, run_command, monkeypatch):
        self.folder, self.monkeypatch = folder, monkeypatch
        self.run_here, self.run_tool, self.run_command = run_here, run_tool, run_command
        self.files = contextlib.ExitStack()
        self.programs = stand_ins(folder.parent / 'programs')
        self.address, self.server, self.server_address = ELSEWHERE, None, SERVER
        self.names: dict = {'__name__': '__main__', **given()}

    def substitute(self, text: str) -> str:
        text = PATTERN.sub(lambda found: PLACEHOLDERS[found[0]], text)
        if ELSEWHERE in text and self.address == ELSEWHERE:
            self.address = f'{self.files.enter_context(served(self.folder))}/'
        for shown, meant in {ELSEWHERE: self.address, SERVER: self.server_address, **WITHOUT_DOWNLOAD}.items():
            text = text.replace(shown, meant)
        return text

    def command(self, command: Command) -> None:
        """Run a command of the page; fail unless it ends, and prints, as the page says."""
        shown = re.sub(r'\s+#\s.*', '', command.text)
        before, redirection, file = shown.partition(' > ')  # the page's options come before it
        parts = ['1' if part == 'N' else part for part in words(self.substitute(f'{before} {command.options}'))]
        parts += words(self.substitute(f'> {file}')) if redirection else []
        target = None
        if '>' in parts:
            target, parts = Path(parts[-1]), parts[: parts.index('>')]
        env = {}
        while re.match(r'[A-Z_]+=', parts[0]):
            name, _, value = parts.pop(0).partition('=')
            env[name] = value
        with self.monkeypatch.context() as patch:
            for name, value in env.items():
                patch.setenv(name, value)
            done = self.dispatch(parts)
        clear_state()
        wanted = 2 if 'error: ' in (command.expected or '') else 0
        said = f'{done.out[-3000:]}\n{done.err[-3000:]}'
        said = f'{command.block.place}: {command.text}\nrun as: {shlex.join(parts)}\n{said}'
        assert done.status == wanted, f'status {done.status}, not {wanted}: {said}'
        if command.expected is not None:
            printed = done.out + done.err
            assert fnmatch.fnmatchcase(printed, as_pattern(self.substitute(command.expected))), said
        if target is not None:
            target.write_text(done.out)

    def dispatch(self, parts: list[str]):
        program, *rest = parts
        if parts[:2] == ['mmdensenet', 'serve']:
            return self.start_server(['-m', *parts, '--port', '0'])
        if program == 'mmdensenet':
            return self.run_here(parts, mmdensenet_cli.main.main)
        if program == 'python' and rest[0] == 'tools/serve.py':
            return self.start_server([*rest, '--port', '0'])
        if program == 'tensorboard':
            return self.start_server(['-m', 'tensorboard.main', *rest, '--port', '0'])
        if program == 'python' and rest[0] == 'tools/build_kernels.py':  # into a cache that is not the user's
            if shutil.which(os.environ.get('CXX') or 'g++') is None:
                return Outcome(0, 'not run: there is no compiler', '')
            return self.run_command(sys.executable, *rest, cwd=self.folder, XDG_CACHE_HOME=str(self.folder / 'cache'))
        if program == 'pip':
            return self.run_command(sys.executable, '-m', 'pip', *rest, cwd=checkout(self.folder.parent / 'checkout'))
        if program == 'python' and rest[0].startswith('tools/'):
            return self.run_tool(rest[0].removeprefix('tools/'), *rest[1:])
        if program == 'python' and rest[0] == '-c':
            code = compile(rest[1], '-c', 'exec')
            return self.run_here(['-c', *rest[2:]], lambda: exec(code, {'__name__': '__main__'}))
        if program == 'python' and rest[0] == '-m':
            return self.run_command(sys.executable, *rest, cwd=self.folder, PYTHONPATH=str(ROOT))
        if program == 'python' and rest[0].endswith('.py'):
            return self.run_here(rest, lambda: runpy.run_path(rest[0], run_name='__main__'))
        if program == 'bash' and rest[0].startswith('tools/'):
            return self.launch(rest)
        if program in ('curl', 'mkdir', 'cp', 'ls'):
            return self.run_command(*parts, cwd=self.folder)
        raise AssertionError(f'a program that this test does not know: {shlex.join(parts)}')

    def launch(self, script: list[str]):
        """Run a shell script up to where it starts processes, and what they would run, once, here."""
        noted = self.programs / 'launched'
        noted.unlink(missing_ok=True)
        path = f'{self.programs}:/usr/bin:/bin'
        done = self.run_command('bash', *script, cwd=self.folder, PATH=path, PYTHON=str(self.programs / 'python'))
        assert done.status == 0 and noted.is_file(), done.out + done.err
        launched = noted.read_text().split('\0')[:-1]
        tool = next(i for i, part in enumerate(launched) if re.search(r'/tools/(train|test)\.py$', part))
        arguments = [part for part in launched[tool + 1 :] if part not in ('--launcher=slurm', '--launcher', 'pytorch')]
        assert len(arguments) < len(launched) - tool - 1, 'the script names the launcher'
        return self.run_tool(Path(launched[tool]).name, *arguments)

    def start_server(self, arguments: list[str]):
        """Start a program that serves, on a free port, until the next one or the page's end; it has to answer."""
        self.stop_server()
        log = open(self.folder.parent / 'server.log', 'w+')  # noqa: SIM115  it is the server's
        command = [sys.executable, '-u', *arguments]
        self.server = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, 'PYTHONPATH': str(ROOT)})
        for _ in range(600):
            said = Path(log.name).read_text()
            if found := re.search(r'http://(127\.0\.0\.1|localhost):\d+', said):
                self.server_address = found[0]
                with urllib.request.urlopen(self.server_address, timeout=60) as answer:
                    assert answer.status == 200
                return Outcome(0, said, '')
            if self.server.poll() is not None:
                break
            time.sleep(0.1)
        self.server.kill()
        return Outcome(-1, Path(log.name).read_text(), '')

    def close(self) -> None:
        self.files.close()
        self.stop_server()

    def stop_server(self) -> None:
        """Terminate the server, which has to end by itself."""
        if self.server is not None:
            self.server.terminate()
            try:
                status = self.server.wait(30)
            finally:
                self.server.kill()
            assert status in (0, -signal.SIGTERM), f'the server ended with status {status}'

    def python(self, block: Block) -> None:
        text = self.substitute(block.text)
        if is_config(text):
            file = self.folder / (block.file_name or f'block_{block.line}.py')
            file.write_text(text)
            check_config(file)
        elif block.file_name:
            (self.folder / block.file_name).write_text(text)
        elif isinstance(parsed := ast.parse(text).body[0], ast.Expr) and len(ast.parse(text).body) == 1:
            assert isinstance(parsed.value, ast.Call) and parsed.value.func.id == 'dict', block.place
            from mmpretrain.registry import TRANSFORMS

            TRANSFORMS.build(eval(text))
        else:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(sys, 'argv', ['python'])
                exec(compile(text, block.place, 'exec'), self.names)
        clear_state()


def as_pattern(expected: str) -> str:
    """What the page prints as a pattern of fnmatch: ``...`` is anything, logging before and after it is left out."""
    return '*' + re.sub(r'([\[?*])', r'[\1]', expected.strip()).replace('...', '*') + '*'


def is_config(text: str) -> bool:
    """Whether code sets keys of a config and does nothing else."""
    body = ast.parse(text).body
    assigned = [target for node in body if isinstance(node, ast.Assign) for target in node.targets]
    targets = [target.id for target in assigned if isinstance(target, ast.Name)]
    kinds = (ast.Assign, ast.Delete)
    return all(isinstance(node, kinds) for node in body) and any(target in CONFIG_KEYS for target in targets)


def check_config(file: Path) -> None:
    """Load a config, or what is meant to stand in one, and build its model and hooks."""
    from mmengine.registry import init_default_scope
    from mmpretrain.registry import HOOKS, MODELS

    text = file.read_text()
    other = re.search(r"^_base_ = 'mm(det|seg)::.*\n", text, re.MULTILINE)
    if other:  # tests/scripts/detection_and_segmentation.py takes them whole, where mmdet and mmseg are installed
        file.write_text(text.replace(other[0], '').replace('_delete_=True,', ''))
    elif '_base_' not in text and not re.search(r'^model', text, re.MULTILINE):
        file.write_text(f"_base_ = '{PLACEHOLDERS['CONFIG']}'\n{text}")
    cfg = configs.load_config(str(file))
    init_default_scope('mmpretrain')
    Visualizer.get_instance('page')  # one of the hooks asks for it
    for hook in cfg.get('default_hooks', {}).values():
        HOOKS.build(hook)
    if 'type' in cfg.model:
        if cfg.get('data_preprocessor'):
            cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
        model = MODELS.build(cfg.model).eval()
        channels = cfg.model.backbone.get('in_channels', 3)
        logits = model(torch.zeros(1, channels, 64, 64), mode='tensor')
        assert logits.shape == (1, cfg.model.head.num_classes)
    else:  # mmdet's and mmseg's parts are not here: what the backbone gives is what the others take
        backbone = MODELS.build(Config.fromfile(file).model.backbone).eval()
        shapes = [tuple(feature.shape) for feature in backbone(torch.zeros(1, 3, 64, 64))]
        assert [shape[1] for shape in shapes] == list(backbone.out_channels)
        if 'neck' in cfg.model:
            assert list(backbone.out_channels) == list(cfg.model.neck.in_channels)
        for name in ('decode_head', 'auxiliary_head'):
            if name in cfg.model:
                assert backbone.out_channels[cfg.model[name].in_index] == cfg.model[name].in_channels


def given() -> dict:
    """What Python on the pages takes from the reader: a model of torchvision's, an image and a batch for a model."""
    from torchvision.models import DenseNet

    return dict(
        torch_model=DenseNet(growth_rate=4, block_config=(1, 1, 1, 1), num_init_features=8),
        image=np.zeros((64, 64, 3), np.uint8),
        batch=torch.randn(2, 3, 64, 64),
    )
