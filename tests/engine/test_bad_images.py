"""Images that cannot be read in a run: stop at the first, or go without them, counted and listed."""

import os
from pathlib import Path

import pytest
import torch
from conftest import DIGITS, write_images
from torch.utils.data import DataLoader, Dataset

from mmdensenet.engine.draws import fetch_of
from mmdensenet.engine.hooks.bad_images_hook import LIST, Skip, listed
from mmdensenet.errors import BadImageError, UserError


@pytest.fixture
def run(tmp_path, run_tool):
    """Train on 16 images of which some are spoiled, one epoch in batches of 4."""
    data = write_images(tmp_path / 'data', classes=4, per_class=4)

    def go(*bad, tool='train.py', workers=0, extra='', options=(), **hook):
        for name in bad:
            (data / name).write_bytes(b'')
        entry = dict(type='CustomDataset', data_root=str(data), data_prefix='')
        loader = dict(batch_size=4, num_workers=workers, persistent_workers=False)
        config = tmp_path / 'folder.py'
        config.write_text(
            f"""
_base_ = {str(DIGITS)!r}
data_preprocessor = dict(num_classes=4, mean=[100] * 3, std=[50] * 3)
load = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
model = dict(
    backbone=dict(in_channels=3, arch=dict(growth_rate=4, depths=(1, 1), init_channels=8)),
    head=dict(in_channels=10, num_classes=4))
loader = dict(**{loader!r}, dataset=dict(**{entry!r}, pipeline=load, _delete_=True))
train_dataloader = loader
val_dataloader = loader
test_dataloader = loader
train_cfg = dict(max_epochs=1)
default_hooks = dict(logger=dict(interval=1), bad_images=dict(**{hook!r}))
{extra}
"""
        )
        arguments = [config, '--work-dir', tmp_path / 'w', *options]
        return run_tool(tool, *arguments)

    go.data = data
    return go


def lines(work_dir):
    return sorted(Path(path).parent.name + '/' + Path(path).name for path in listed(work_dir / LIST))


@pytest.mark.parametrize('workers', [0, 1])
def test_stop_is_the_default(run, tmp_path, workers):
    done = run('class_2/1.jpg', workers=workers)
    assert done.status == 2, done.err
    error = done.err[done.err.index('error: ') :]
    assert (
        error
        == f'error: {run.data}/class_2/1.jpg cannot be read as an image: repair or remove it (the file is empty).\n'
    )
    assert not (tmp_path / 'w' / LIST).exists()


@pytest.mark.parametrize('workers', [0, 2])
def test_skip_counts_and_lists(run, tmp_path, workers):
    bad = ('class_0/0.jpg', 'class_3/2.jpg')
    done = run(*bad, workers=workers, policy='skip', budget=2)
    assert done.status == 0, done.err
    assert lines(tmp_path / 'w') == sorted(bad), 'each once, although training and validation met them'
    assert 'the file is empty' in (tmp_path / 'w' / LIST).read_text()
    assert done.out.count('2 images cannot be read and are left out') == 1
    checkpoint = tmp_path / 'w/epoch_1.pth'
    options = [checkpoint, '--work-dir', tmp_path / 't', '--out', tmp_path / 'p.json']
    done = run(*bad, policy='skip', tool='test.py', options=options)
    assert done.status == 0, done.err
    import json

    tested = [record['img_path'] for record in json.loads((tmp_path / 'p.json').read_text())]
    assert len(tested) == 14 and not any(path.endswith(bad) for path in tested)


def test_budget(run, tmp_path):
    done = run('class_0/0.jpg', 'class_1/0.jpg', 'class_2/0.jpg', policy='skip', budget=2)
    assert done.status == 2, done.err
    error = done.err[done.err.index('error: ') :]
    assert error.startswith('error: 3 images cannot be read, and 2 may be left out (BadImagesHook.budget): ')
    assert len(error.splitlines()) == 1 and len(lines(tmp_path / 'w')) == 3


def test_a_batch_without_any_image_is_no_batch(run):
    done = run(*(f'class_1/{i}.jpg' for i in range(4)), policy='skip')  # a batch of the validation
    assert done.status == 2 and 'class_1/' in done.err and 'cannot be read as an image' in done.err


JOINED = """part = dict(loader['dataset'])
part.pop('_delete_')
train_dataloader = dict(loader, dataset=dict(type='ConcatDataset', datasets=[part], _delete_=True))
"""
UNCHECKED = 'val_cfg = val_dataloader = val_evaluator = None\n'
REPEATED = "'RepeatDataset', times=2, dataset=dict(type='ConcatDataset', datasets=[part])"


@pytest.mark.parametrize('wrapped', [False, True])
def test_a_pipeline_that_returns_nothing_is_not_a_licence(run, tmp_path, wrapped):
    """mmengine's data sets draw another sample then."""
    (tmp_path / 'nothing.py').write_text(
        """
from mmcv.transforms import BaseTransform
from mmpretrain.registry import TRANSFORMS

@TRANSFORMS.register_module(force=True)
class Nothing(BaseTransform):
    def transform(self, results):
        return None if results['sample_idx'] == 5 else results
"""
    )
    import sys

    sys.path.insert(0, str(tmp_path))
    try:
        extra = "custom_imports = dict(imports=['mmdensenet', 'nothing'])\nload.insert(1, dict(type='Nothing'))\n"
        with pytest.raises(Exception, match='Cannot find valid image after 0'):
            run(extra=extra + (JOINED + UNCHECKED if wrapped else ''))
    finally:
        sys.path.remove(str(tmp_path))


@pytest.mark.parametrize('wrapped', [JOINED, JOINED.replace("'ConcatDataset', datasets=[part]", REPEATED)])
def test_labels_inside_wrappers(run, wrapped):
    done = run(extra=f"{wrapped}model['head'].update(num_classes=3)\n{UNCHECKED}")
    assert done.status == 2, done.err
    assert 'class_3/0.jpg (train_dataloader) has label 3, but the head has 3 classes' in done.err


@pytest.mark.parametrize(('setting', 'message'), [(dict(policy='ignore'), "choose 'stop' or 'skip'")])
def test_wrong_settings(run, setting, message):
    done = run(**setting)
    assert done.status == 2 and message in done.err


class Spoiled(Dataset):
    def __len__(self):
        return 40

    def __getitem__(self, index):
        if index % 4 == 0:
            raise BadImageError.of(f'/data/ö {index}\n.jpg', 'x')
        return torch.tensor(index)


@pytest.mark.parametrize('workers', [0, 2])
def test_workers_share_the_count(tmp_path, workers):
    loader = DataLoader(Spoiled(), batch_size=4, num_workers=workers)
    fetch_of(loader).keep = Skip(tmp_path / LIST, budget=10)
    for _ in range(2):
        assert sorted(i for batch in loader for i in batch.tolist()) == [i for i in range(40) if i % 4]
    assert sorted(listed(tmp_path / LIST)) == sorted(f'/data/ö {i}?.jpg' for i in range(0, 40, 4))
    os.truncate(tmp_path / LIST, 0)
    fetch_of(loader).keep = Skip(tmp_path / LIST, budget=9)
    batches = iter(loader)
    with pytest.raises(UserError, match='10 images cannot be read, and 9 may be left out'):
        list(batches)
    if workers:
        batches._shutdown_workers()  # torch takes seconds for each when it is collected
