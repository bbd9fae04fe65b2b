"""Parts with other classes end train, test, report, export and verify with status 2, before anything is computed."""

import pytest
import torch
from conftest import DIGITS, write_images

import mmdensenet

CONFIG = """_base_ = {digits!r}
model = dict(backbone=dict(in_channels=3, arch=dict(growth_rate=4, depths=(1, 2), init_channels=8)))
model['head'] = dict(num_classes=3, in_channels=14)
data_preprocessor = dict(num_classes=3, mean=[100.] * 3, std=[60.] * 3, to_rgb=True)
data = dict(_delete_=True, type='CustomDataset', data_root={root!r})
data['pipeline'] = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
train_dataloader = dict(batch_size=8, dataset=dict(data, data_prefix='train'))
val_dataloader = dict(dataset=dict(data, data_prefix='val'))
test_dataloader = dict(dataset=dict(data, data_prefix='test'))
train_cfg = dict(max_epochs=1)
param_scheduler = dict(milestones=[1])
{extra}
"""
PARTS = ('train', 'val', 'test')


@pytest.fixture
def folders(tmp_path):
    for part in PARTS:
        write_images(tmp_path / f'd/{part}', seed=PARTS.index(part))
        for old, new in (('class_0', 'ant'), ('class_1', 'bee'), ('class_2', 'cat')):
            (tmp_path / f'd/{part}/{old}').rename(tmp_path / f'd/{part}/{new}')
    return tmp_path / 'd'


@pytest.fixture
def tool(run_tool, folders, tmp_path):
    """Run a tool with the folders' config and a checkpoint of the classes ``trained``."""

    def run(name, *options, trained=('ant', 'bee', 'cat'), extra=''):
        config = tmp_path / 'c.py'
        config.write_text(CONFIG.format(digits=str(DIGITS), root=str(folders), extra=extra))
        if name == 'verify_dataset.py':
            return run_tool(name, config, '--workers', '0', *options)
        if name == 'train.py':
            return run_tool(name, config, '--work-dir', tmp_path / 'work', *options)
        model = mmdensenet.get_model(str(config))
        meta = dict(dataset_meta=dict(classes=trained)) if trained else {}
        torch.save(dict(meta=meta, state_dict=model.state_dict()), tmp_path / 'w.pth')
        if name == 'test.py':
            options = ('--work-dir', tmp_path / 'test', *options)
        if name == 'predict.py':
            return run_tool(name, folders / 'test', '--model', config, '--checkpoint', tmp_path / 'w.pth', *options)
        return run_tool(name, config, tmp_path / 'w.pth', *options)

    return run


def out(tmp_path, name):
    return dict(
        report=('report.py', '--out', tmp_path / 'r.html', '--bootstrap', '0', '--no-measure'),
        export=('export.py', '--out', tmp_path / 'e.onnx'),
        test=('test.py',),
        train=('train.py',),
        verify=('verify_dataset.py',),
        predict=('predict.py', '--json'),
    )[name]


def lack(folders, part, name):
    for file in (folders / part / name).iterdir():
        file.unlink()
    (folders / part / name).rmdir()


@pytest.mark.parametrize('part', PARTS)
@pytest.mark.parametrize('name', ['train', 'verify'])
def test_a_folder_spelt_otherwise(tool, folders, tmp_path, name, part):
    (folders / part / 'bee').rename(folders / part / 'Bee')
    done = tool(*out(tmp_path, name))
    assert done.status == 2, done.out
    other = 'val' if part == 'train' else 'train'
    for text in (f'{part}_dataloader.dataset', f'{other}_dataloader.dataset', f'{part}/Bee', 'likely one class'):
        assert text in done.err
    assert 'num_classes' not in done.err and not list(tmp_path.glob('work/*.pth'))


@pytest.mark.parametrize('name', ['test', 'report', 'export'])
def test_the_test_part_has_other_classes_than_the_checkpoint(tool, folders, tmp_path, name):
    pytest.importorskip('onnxscript', reason='the extra export is not installed')
    (folders / 'test/bee').rename(folders / 'test/Bee')
    done = tool(*out(tmp_path, name))
    assert done.status == 2, done.out
    assert 'w.pth and test_dataloader.dataset have different classes' in done.err and "'Bee' and 'bee'" in done.err
    assert not list(tmp_path.glob('[re].*'))


def test_a_missing_folder_and_the_line_that_mends_it(tool, folders, tmp_path):
    lack(folders, 'val', 'ant')
    line = "metainfo=dict(classes=['ant', 'bee', 'cat'])"
    for name in ('train', 'verify'):
        done = tool(*out(tmp_path, name))
        assert done.status == 2 and f'add {line} to val_dataloader.dataset' in done.err, done.err
    extra = f"val_dataloader['dataset'].update({line})"
    assert tool('train.py', extra=extra).status == 0
    verified = tool('verify_dataset.py', extra=extra)
    assert verified.status == 1 and 'val: class 0 (ant) has no image' in verified.out
    lack(folders, 'test', 'ant')
    done = tool('test.py')
    assert done.status == 2 and f'add {line} to test_dataloader.dataset' in done.err
    done = tool('test.py', extra=f"test_dataloader['dataset'].update({line})")
    assert done.status == 0, done.err


@pytest.mark.parametrize('name', ['train', 'verify', 'test'])
def test_a_hidden_folder(tool, folders, tmp_path, name):
    (folders / 'train/.ipynb_checkpoints').mkdir()
    (folders / 'test/.ipynb_checkpoints').mkdir()
    done = tool(*out(tmp_path, name))
    assert done.status == 2 and '.ipynb_checkpoints is a hidden folder' in done.err
    assert 'num_classes' not in done.err


def test_an_empty_folder_in_all_parts(tool, folders):
    for part in PARTS:
        (folders / part / 'aaa').mkdir()
    done = tool('train.py')
    assert done.status == 2 and "The folder 'aaa' has no image and counts as a class: remove it." in done.err
    assert 'num_classes' not in done.err


def test_the_checkpoint_has_another_order(tool, run_tool, folders, tmp_path):
    for name in ('test', 'report', 'export', 'predict'):
        extra = "test_dataloader['dataset'].update(metainfo=dict(classes=['ant', 'bee', 'cat']))"
        done = tool(*out(tmp_path, name), trained=('cat', 'ant', 'bee'), extra=extra)
        assert done.status == 2, (name, done.out)
        assert "another order: its label 0 is 'ant', not 'cat'" in done.err and 'w.pth' in done.err
    for trained, status, text in (
        (
            ('cat', 'ant', 'bee'),
            2,
            "train_dataloader.dataset has the classes of {file} in another order: its label 0 is 'ant', not 'cat'",
        ),
        (('ant', 'bee'), 2, '{file} and train_dataloader.dataset have different classes'),
        (None, 2, '{file} has no names of classes'),
        (('ant', 'bee', 'cat'), 0, ''),
    ):
        torch.save(dict(meta=dict(dataset_meta=dict(classes=trained))), tmp_path / 'w.pth')
        done = run_tool('verify_dataset.py', tmp_path / 'c.py', tmp_path / 'w.pth', '--workers', '0')
        assert done.status == status and text.format(file=tmp_path / 'w.pth') in done.err, done.err


def test_a_checkpoint_without_names_is_compared_through_the_training_part(tool, folders):
    done = tool('test.py', trained=None)
    assert done.status == 0, done.err
    (folders / 'test/bee').rename(folders / 'test/zebra')
    done = tool('test.py', trained=None)
    assert done.status == 2 and 'train_dataloader.dataset' in done.err and "dataset lacks 'bee'" in done.err


def test_a_list_of_the_test_images_with_other_numbers(tool, folders):
    """Neither it nor the checkpoint has names: the training part's folders have."""
    names = ('ant', 'bee', 'cat')
    extra = "test_dataloader['dataset'].update(data_prefix='', ann_file='t.txt')"
    for order, status in ((names, 0), (names[::-1], 2)):
        rows = [f'test/{name}/{i}.jpg {order.index(name)}' for name in names for i in range(4)]
        (folders / 't.txt').write_text('\n'.join(rows))
        for trained in (None, names):
            done = tool('test.py', trained=trained, extra=extra)
            assert done.status == status, done.err
            assert (
                status == 0 or "t.txt) gives the images in folders 'ant' the label 2, and 'ant' is class 0" in done.err
            )


def test_tables(tool, folders, tmp_path):
    """A validation table without the first class, and with the list that mends it."""
    for part in PARTS:
        names = ('bee', 'cat') if part == 'val' else ('ant', 'bee', 'cat')
        rows = [f'{part}/{name}/{i}.jpg,{name}' for name in names for i in range(4)]
        (folders / f'{part}.csv').write_text('\n'.join(['image,y', *rows]))
    extra = ''.join(
        f"{part}_dataloader['dataset'].update(type='mmdensenet.CSVDataset', ann_file='{part}.csv', label_column='y', "
        "data_prefix='')\n"
        for part in PARTS
    )
    for name in ('train', 'verify'):
        done = tool(*out(tmp_path, name), extra=extra)
        assert done.status == 2 and "val_dataloader.dataset lacks 'ant'" in done.err, done.err
    mended = extra + "val_dataloader['dataset']['metainfo'] = dict(classes=['ant', 'bee', 'cat'])"
    done = tool('train.py', extra=mended)
    assert done.status == 0, done.err


def test_resuming_with_other_classes(tool, folders, tmp_path):
    assert tool('train.py').status == 0
    for part in PARTS:
        (folders / part / 'cat').rename(folders / part / 'aardvark')
    done = tool('train.py', '--resume', '--cfg-options', 'train_cfg.max_epochs=2')
    assert done.status == 2 and 'epoch_1.pth and train_dataloader.dataset have different classes' in done.err
    # starting from its weights is fine-tuning, for which other classes are the point
    done = tool('train.py', '--cfg-options', f'load_from={tmp_path}/work/epoch_1.pth')
    assert done.status == 0, done.err
