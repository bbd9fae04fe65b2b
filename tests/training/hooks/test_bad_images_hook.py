"""Images that cannot be read in a run: stop at the first, or skip, count and list them."""

import json
import os
import signal
from functools import partial
from pathlib import Path

import pytest
import torch
from conftest import DIGITS, TOOLS, write_images
from helpers import assert_equal
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from torch.utils.data import DataLoader, Dataset

from mmdensenet.errors import BadImageError, UserError
from mmdensenet.training.draws import fetch_of
from mmdensenet.training.hooks.bad_images_hook import LIST, BadImagesHook, listed, skip


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
    tested = [record['img_path'] for record in json.loads((tmp_path / 'p.json').read_text())]
    assert len(tested) == 14 and not any(path.endswith(bad) for path in tested)


def test_budget(run, tmp_path):
    done = run('class_0/0.jpg', 'class_1/0.jpg', 'class_2/0.jpg', policy='skip', budget=2)
    assert done.status == 2, done.err
    error = done.err[done.err.index('error: ') :]
    assert error.startswith('error: 3 images cannot be read, and 2 may be left out (BadImagesHook.budget): ')
    assert len(error.splitlines()) == 1 and len(lines(tmp_path / 'w')) == 3


@pytest.mark.parametrize('workers', [0, 1])
def test_a_batch_without_any_image_is_passed_over(run, tmp_path, workers):
    """In training it is an iteration without a step."""
    bad = tuple(f'class_1/{i}.jpg' for i in range(4))  # one batch of the validation
    small = 'train_dataloader = dict(loader, batch_size=1)\n'
    done = run(*bad, policy='skip', budget=4, workers=workers, extra=small)
    assert done.status == 0, done.err
    assert lines(tmp_path / 'w') == sorted(bad)
    assert done.out.count('is without a step: none of the images of the batch can be read.') == 4
    state = torch.load(tmp_path / 'w/epoch_1.pth', weights_only=True)
    assert state['meta']['iter'] == 16
    options = [tmp_path / 'w/epoch_1.pth', '--work-dir', tmp_path / 't', '--out', tmp_path / 'p.json']
    options += ['--show-dir', tmp_path / 'show']
    done = run(policy='skip', budget=4, tool='test.py', workers=workers, options=options)
    assert done.status == 0, done.err
    assert len(json.loads((tmp_path / 'p.json').read_text())) == 12 == len(list((tmp_path / 'show').rglob('*.png')))


def test_a_test_set_without_any_image(run, tmp_path):
    """And the first batch without one, when nothing has been logged yet."""
    done = run('class_0/0.jpg', policy='skip', extra=UNCHECKED + 'train_dataloader = dict(loader, batch_size=1)')
    assert done.status == 0, done.err
    bad = [f'class_{label}/{i}.jpg' for label in range(4) for i in range(4)]
    done = run(*bad, policy='skip', tool='test.py', options=[tmp_path / 'w/epoch_1.pth', '--work-dir', tmp_path / 't'])
    assert done.status == 2 and 'none of the images of test_dataloader can be read' in done.err


@HOOKS.register_module()
class StopAt(Hook):
    """Ends a run at an iteration, as Ctrl-C does."""

    iteration = None
    priority = 'LOWEST'

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == StopAt.iteration:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize('sums', [1, 3])
def test_resuming_counts_the_iterations_that_were_passed_over(run, tmp_path, sums, monkeypatch):
    bad = ('class_0/0.jpg', 'class_1/1.jpg', 'class_2/2.jpg', 'class_2/3.jpg', 'class_3/3.jpg')
    extra = f"""{UNCHECKED}
custom_hooks = [dict(type='StopAt'), dict(type='EMAHook', momentum=0.1)]
optim_wrapper = dict(accumulative_counts={sums})
randomness = dict(seed=3)
train_dataloader = dict(loader, batch_size=1, sampler=dict(type='DefaultSampler', shuffle=True))
"""

    def go(name, *options):
        return run(*bad, policy='skip', extra=extra, options=['--work-dir', tmp_path / name, *options])

    assert go('whole').status == 0
    for iteration in (5, 11):
        monkeypatch.setattr(StopAt, 'iteration', iteration)
        done = go('parts', '--resume')
        assert done.status == 130, done.err
    monkeypatch.setattr(StopAt, 'iteration', None)
    assert go('parts', '--resume').status == 0
    whole, parts = (torch.load(tmp_path / f'{name}/epoch_1.pth', weights_only=True) for name in ('whole', 'parts'))
    for key in ('state_dict', 'ema_state_dict'):
        assert_equal(parts[key], whole[key])


@pytest.mark.slow
def test_two_ranks_test_each_image_once(run, run_command, tmp_path):
    """An odd number of images: one is drawn twice so that the ranks have as many."""
    (run.data / 'class_3/3.jpg').unlink()
    bad = ('class_0/0.jpg', 'class_1/1.jpg')
    done = run(*bad, policy='skip', options=['--cfg-options', 'train_cfg.max_epochs=1'])
    assert done.status == 0, done.err
    config, checkpoint = tmp_path / 'folder.py', tmp_path / 'w/epoch_1.pth'
    done = run_command(
        *('bash', TOOLS / 'dist_test.sh', config, checkpoint, '2', '--work-dir', tmp_path / 't'),
        *('--out', tmp_path / 'p.json', '--cfg-options', 'test_dataloader.batch_size=1'),
    )
    assert done.status == 0, done.err
    tested = [record['img_path'] for record in json.loads((tmp_path / 'p.json').read_text())]
    images = {str(path) for path in run.data.rglob('*.jpg')} - {str(run.data / name) for name in bad}
    assert sorted(tested) == sorted(images)


JOINED = """part = dict(loader['dataset'])
part.pop('_delete_')
train_dataloader = dict(loader, dataset=dict(type='ConcatDataset', datasets=[part], _delete_=True))
"""
UNCHECKED = 'val_cfg = val_dataloader = val_evaluator = None\n'
REPEATED = "'RepeatDataset', times=2, dataset=dict(type='ConcatDataset', datasets=[part])"


@pytest.mark.parametrize('wrapped', [False, True])
def test_a_pipeline_that_returns_nothing_is_an_error(run, tmp_path, wrapped, monkeypatch):
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
    monkeypatch.syspath_prepend(tmp_path)
    extra = "custom_imports = dict(imports=['mmdensenet', 'nothing'])\nload.insert(1, dict(type='Nothing'))\n"
    with pytest.raises(Exception, match='Cannot find valid image after 0'):
        run(extra=extra + (JOINED + UNCHECKED if wrapped else ''))


@pytest.mark.parametrize('wrapped', [JOINED, JOINED.replace("'ConcatDataset', datasets=[part]", REPEATED)])
def test_labels_inside_wrappers(run, wrapped):
    done = run(extra=f"{wrapped}model['head'].update(num_classes=3)\n{UNCHECKED}")
    assert done.status == 2, done.err
    assert 'class_3/0.jpg (train_dataloader) has label 3, but the head has 3 classes' in done.err


def test_wrong_settings():
    with pytest.raises(UserError, match="choose 'stop' or 'skip'"):
        BadImagesHook(policy='ignore')


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
    fetch_of(loader).keep = partial(skip, tmp_path / LIST, 10)
    for _ in range(2):
        assert sorted(i for batch in loader for i in batch.tolist()) == [i for i in range(40) if i % 4]
    assert sorted(listed(tmp_path / LIST)) == sorted(f'/data/ö {i}?.jpg' for i in range(0, 40, 4))
    os.truncate(tmp_path / LIST, 0)
    fetch_of(loader).keep = partial(skip, tmp_path / LIST, 9)
    batches = iter(loader)
    with pytest.raises(UserError, match='10 images cannot be read, and 9 may be left out'):
        list(batches)
    if workers:
        batches._shutdown_workers()  # torch takes seconds for each when it is collected
