"""What a path that does not exist may have meant."""

from pathlib import Path

import pytest
import torch
from conftest import DIGITS, write_images

from mmdensenet.cli import explain
from mmdensenet.similar import MOST_NAMES, similar_path


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in ('work_dirs/demo/epoch_9.pth', 'work_dirs/demo/last_checkpoint', 'Photo.JPG', 'my_config.py'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ('path', 'meant'),
    [
        ('work_dirs/demo/epoch_99.pth', 'epoch_9.pth'),
        ('work_dirs/demo/epoch9.pth', 'epoch_9.pth'),
        ('work_dirs/dmo/epoch_9.pth', 'work_dirs/demo/epoch_9.pth'),
        ('workdirs/demo/epoch_9.pth', 'work_dirs/demo/epoch_9.pth'),
        ('work_dirs/dmo/epoch_99.pth', 'work_dirs/demo/epoch_9.pth'),
        ('work_dirs/dmo/other', 'work_dirs/demo'),
        ('work_dir', 'work_dirs'),
        ('photo.jpg', 'Photo.JPG'),
        ('nothing/like/it', None),
        ('zzz', None),
    ],
)
def test_similar_path(folder, path, meant):
    assert similar_path(path) == (f' Did you mean {meant}?' if meant else '')
    absolute = f' Did you mean {meant if "/" not in str(meant) or "/" not in path else Path.cwd() / meant}?'
    assert similar_path(Path.cwd() / path) == (absolute if meant else '')


def test_only_some_suffixes(folder):
    assert similar_path('my_config.pyc', ['.py']) == ' Did you mean my_config.py?'
    assert similar_path('my_config.pyc', ['.json']) == ''


def test_a_folder_of_very_many_names_is_not_read_to_its_end(monkeypatch, tmp_path):
    for number in range(5):
        (tmp_path / f'image_{number}.jpg').touch()
    assert MOST_NAMES >= 1000 and similar_path(tmp_path / 'image_x.jpg')
    monkeypatch.setattr('mmdensenet.similar.MOST_NAMES', 0)
    assert similar_path(tmp_path / 'image_x.jpg') == ''


MODEL = [DIGITS, 'run/epoch_9.pht']


@pytest.mark.parametrize(
    ('tool', 'arguments', 'meant'),
    [
        ('test.py', MODEL, 'epoch_9.pth'),
        ('train.py', [DIGITS, '--resume', 'run/epoch_99.pth'], 'epoch_9.pth'),
        ('train.py', [DIGITS, '--cfg-options', 'load_from=rnu/epoch_9.pth'], 'run/epoch_9.pth'),
        ('train.py', ['digit.py'], 'digits.py'),
        ('report.py', MODEL, 'epoch_9.pth'),
        ('report.py', [DIGITS, 'run/epoch_9.pth', '--work-dir', 'runs'], 'run'),
        ('report.py', [DIGITS, 'run/epoch_9.pth', '--predictions', 'p.jsn'], 'p.json'),
        ('export.py', MODEL, 'epoch_9.pth'),
        ('export.py', [DIGITS, 'run/epoch_9.pth', '--images', 'image'], 'images'),
        ('convert_checkpoint.py', ['run/epoch_9.pht', 'o.pth'], 'epoch_9.pth'),
        ('predict.py', ['images/class_0/00.jpg', '--model', DIGITS, '--checkpoint', 'run/epoch_9.pth'], '0.jpg'),
        ('predict.py', ['list.txt', '--model', DIGITS, '--checkpoint', 'run/epoch_9.pth'], '0.jpg'),
        ('predict.py', ['images', '--model', 'm.onx'], 'm.onnx'),
        ('predict.py', ['images', '--model', 'mm.onnx'], 'm.onnx'),
        ('visualize.py', ['curves', 'rnu'], 'run'),
        ('visualize.py', ['reuse', *MODEL], 'epoch_9.pth'),
        ('complexity.py', ['digit.py'], 'digits.py'),
        ('verify_dataset.py', ['folder.py', '--cfg-options', 'train_dataloader.dataset.data_root=imgs'], 'images'),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_every_tool_names_what_is_similar(tool, arguments, meant, run_tool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / 'images', classes=1, per_class=1)
    (tmp_path / 'run').mkdir()
    torch.save({}, 'run/epoch_9.pth')
    for name, text in {
        'digits.py': '',
        'p.json': '[]',
        'm.onnx': '',
        'list.txt': 'images/class_0/00.jpg\n',
        'folder.py': FOLDER,
    }.items():
        (tmp_path / name).write_text(text)
    done = run_tool(tool, *arguments)
    assert done.status == 2 and f'Did you mean {meant}?' in done.err, done.err
    assert len(done.err.splitlines()) <= 2 and not list(tmp_path.glob('work_dirs/*/*/*.log')), 'before anything runs'


FOLDER = """
default_scope = 'mmpretrain'
model = dict(type='ImageClassifier')
train_dataloader = dict(batch_size=1, dataset=dict(type='CustomDataset', data_root='images', pipeline=[]))
"""


def test_a_file_that_is_opened(tmp_path):
    (tmp_path / 'names.txt').touch()
    with pytest.raises(FileNotFoundError) as caught:
        (tmp_path / 'name.txt').open()
    assert explain(caught.value).endswith('no such file or folder. Did you mean names.txt?')
