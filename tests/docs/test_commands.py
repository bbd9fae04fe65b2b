"""Each page of the documentation, run from its first block to its last, in a folder with small data.

The commands run as they are shown, with three differences: placeholders get a value (``doc_sandbox.PLACEHOLDERS``);
configs are made small while they are loaded, so that a page takes seconds; and tools run in this process, those that
``bash tools/*.sh`` starts as one process, with the arguments that the script gives (tests/tools/test_distributed.py
has several). What the page marks as not run is not run: tests/docs/test_pages.py has looked at its options.
"""

import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, clear_state
from doc_pages import PAGES, blocks, commands
from doc_sandbox import PLACEHOLDERS, legacy_torchvision_weights, make, miniature, write_image
from doc_session import Session
from mmengine.config import Config

import mmdensenet
from mmdensenet.apis import config as configs
from mmdensenet.apis import train_model

#: pages whose models are the real ones, as they are about other libraries' weights
FULL_SIZE = {'convert.md'}


@pytest.fixture(scope='module')
def trained(tmp_path_factory) -> Path:
    """A reader's folder with a trained model, to copy."""
    folder = make(tmp_path_factory.mktemp('docs') / 'project')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        train_model('small.py')
        shutil.copytree('work_dirs/small', 'work_dirs/again')
    clear_state()
    return folder


@pytest.fixture
def project(trained, tmp_path, monkeypatch, request):
    """The reader's folder, the current one, beside the repository; configs that are loaded become miniatures."""
    page = request.node.callspec.params.get('page', Path('page.md'))
    folder = Path(shutil.copytree(trained, tmp_path / 'project', symlinks=True))
    (tmp_path / 'mmdensenet').symlink_to(ROOT)
    monkeypatch.chdir(folder)
    if page.name not in FULL_SIZE:
        merge = configs.merge_options

        def merge_into_miniature(cfg: Config, options: dict) -> None:
            miniature(cfg)
            merge(cfg, options)

        monkeypatch.setattr(configs, 'merge_options', merge_into_miniature)
    return folder


@pytest.mark.slow
def test_the_python_of_the_readme_warns_of_nothing(run_command, tmp_path):
    """In a process of its own, as a reader has it: one line for each of the images, and nothing else."""
    (block,) = (block for block in blocks(ROOT / 'README.md') if block.language == 'python')
    for name in ('cat.jpg', 'photos/dog.jpg'):
        write_image(tmp_path / name, 0, np.random.default_rng(0))
    torch.save(mmdensenet.get_model('densenet121').state_dict(), tmp_path / 'weights.pth')
    text = block.text.replace('pretrained=True', "pretrained='weights.pth'")
    done = run_command(sys.executable, '-c', text, cwd=tmp_path, PYTHONPATH=str(ROOT), PYTHONWARNINGS='')
    assert done.status == 0 and 'arning' not in done.err, done.err
    # onedl-mmpretrain prints that at its import
    lines = [line for line in done.out.splitlines() if line != 'Could not import OneDL']
    assert len(lines) == 2 and all(0 < float(line.split()[-1]) <= 1 for line in lines), done.out


@pytest.mark.slow
@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.stem)
def test_page(page, project, run_here, run_tool, run_command, monkeypatch, request):
    if all(block.not_run for block in blocks(page)):
        return  # nothing is shown, or all of it is marked
    session = Session(project, run_here, run_tool, run_command, monkeypatch)
    prepare(page, session)
    request.addfinalizer(session.close)
    read(page, session)


def read(page: Path, session: Session) -> None:
    """Run what the page shows, from its first block to its last."""
    for block in blocks(page):
        if block.not_run is not None:
            continue
        if block.language == 'python':
            session.python(block)
            continue
        for command in commands(block):
            if command.not_run is None:
                session.command(command)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('```bash\npython tools/train.py missing.py\n```', 'status 2, not 0'),
        ('```bash\npython tools/test.py CONFIG\n```', 'status 2, not 0'),
        ('```bash\npython -c "raise SystemExit(3)"\n```', 'status 3, not 0'),
        ('```bash\nfrobnicate CONFIG\n```', 'does not know: frobnicate small.py'),
        ('```bash\nbash tools/dist_train.sh missing.py 2\n```', 'status 2, not 0'),
        ('```console\n$ python -c "print(1)"\n2\n```', 'run as'),
        ('```console\n$ python tools/train.py CONFIG --cfg-options modle.x=1\nerror: no such thing\n```', 'run as'),
        ('```python\nimport no_such_module\n```', 'no_such_module'),
        ("```python\ndefault_hooks = dict(extra=dict(type='NoSuchHook'))\n```", 'NoSuchHook'),
        ("```python\nmodel = dict(backbone=dict(type='mmdensenet.DenseNet', arch='122'))\n```", '122'),
    ],
)
def test_pages_that_fail(text, message, project, tmp_path, run_here, run_tool, run_command, monkeypatch):
    page = tmp_path / 'page.md'
    page.write_text(text + '\n')
    with pytest.raises(Exception, match=message):
        read(page, Session(project, run_here, run_tool, run_command, monkeypatch))


def prepare(page: Path, session: Session) -> None:
    """Weights that a reader has, or would download."""
    text = page.read_text(encoding='utf-8')
    if 'predictions.npz' in text:
        config, checkpoint = PLACEHOLDERS['CONFIG'], PLACEHOLDERS['CHECKPOINT']
        assert session.run_tool('test.py', config, checkpoint, '--out', 'predictions.npz').status == 0
        clear_state()
    if re.search(r'a639ec97|\bSOURCE\b', text):
        legacy_torchvision_weights(session.folder / 'densenet121-a639ec97.pth')
    (session.folder / 'random').mkdir()
    if 'densenet121' in text and page.name not in FULL_SIZE:
        torch.save(mmdensenet.get_model('densenet121').state_dict(), session.folder / 'random/densenet121.pth')
