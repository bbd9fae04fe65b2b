"""Wrapped data sets as training, validation and test set: every tool does with them what it does with plain ones."""

import json

import numpy as np
import pytest
import torch
from conftest import clear_state, write_images

import mmdensenet

WRAPPED = """
part = dict(type='mmdensenet.Digits', split='test', pipeline=[dict(type='PackInputs')], indices=16)
fold = dict(type='KFoldDataset', dataset=part, fold=1, num_splits=4, test_mode=True)
wrapped = dict(type='ConcatDataset', datasets=[dict(type='RepeatDataset', times=2, dataset=part), fold], _delete_=True)
train_dataloader = dict(dataset=dict(type='ClassBalancedDataset', oversample_thr=0.5, dataset=part, _delete_=True))
val_dataloader = dict(dataset=wrapped)
test_dataloader = dict(dataset=wrapped)
"""


@pytest.fixture
def trained(short_config, tmp_path):
    """Two configs, plain and wrapped, of one model."""
    model = mmdensenet.get_model(str(short_config()))
    torch.manual_seed(0)
    model.head.fc.weight.data.normal_()
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'w.pth')
    return short_config(), short_config(WRAPPED, name='wrapped.py'), tmp_path / 'w.pth'


def test_training(check_tool, trained, tmp_path):
    check_tool('train.py', trained[1], '--work-dir', tmp_path / 'w', '--cfg-options', 'train_cfg.max_epochs=1')


@pytest.mark.parametrize('tta', [[], ['--tta']])
def test_testing(check_tool, trained, tmp_path, tta):
    """Twice the sixteen images and the fold's four: their scores are those of the plain data set."""
    plain, wrapped, checkpoint = trained
    scores = {}
    for name, config, options in (('plain', plain, ['test_dataloader.dataset.indices=16']), ('wrapped', wrapped, [])):
        options = ['--cfg-options', *options] if options else []
        out = tmp_path / f'{name}.npz'
        check_tool('test.py', config, checkpoint, '--work-dir', tmp_path / name, '--out', out, *tta, *options)
        scores[name] = np.load(out)['pred_score']
    expected = scores['plain'][[*range(16), *range(16), *range(4, 8)]]
    assert np.allclose(scores['wrapped'], expected, atol=1e-6)


def test_predict_and_pictures(check_tool, trained, tmp_path):
    plain, wrapped, checkpoint = trained
    image = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    np.save(tmp_path / 'i.npy', image)
    given = []
    for config in (plain, wrapped):
        done = check_tool('predict.py', tmp_path / 'i.npy', '--model', config, '--checkpoint', checkpoint, '--json')
        given.append(json.loads(done.out)[0]['predictions'])
    assert given[0] == given[1] and 'class' in given[0][0]
    for split in ('train', 'test'):
        out = tmp_path / f'{split}.png'
        done = check_tool('visualize.py', 'embedding', wrapped, checkpoint, '--split', split, '--out', out)
        assert out.is_file()
    for command, *rest in (('cam', checkpoint, tmp_path / 'i.npy'), ('data',)):
        out = tmp_path / f'{command}.png'
        done = check_tool('visualize.py', command, wrapped, *rest, '--out', out)
        assert out.is_file()


@pytest.mark.slow
def test_export_and_report(check_tool, trained, tmp_path):
    pytest.importorskip('onnxscript', reason='the extra export is not installed')
    _, wrapped, checkpoint = trained
    check_tool('export.py', wrapped, checkpoint, '--out', tmp_path / 'e.onnx')
    assert (tmp_path / 'e.onnx').is_file()
    options = ('--bootstrap', '0', '--no-measure', '--gallery', '2')
    check_tool('report.py', wrapped, checkpoint, '--out', tmp_path / 'r.html', *options)
    page = (tmp_path / 'r.html').read_text()
    assert ', 36 test images' in page


FOLDERS = """
model = dict(head=dict(num_classes=3))
steps = [dict(type='LoadImageFromFile', color_type='grayscale'), dict(type='PackInputs')]
part = dict(type='CustomDataset', data_root={root!r}, pipeline=steps)
wrapped = dict(type='RepeatDataset', times=2, dataset=dict(type='ConcatDataset', datasets=[part, part]), _delete_=True)
train_dataloader = dict(dataset=wrapped)
val_dataloader = dict(dataset=wrapped)
test_dataloader = dict(dataset=wrapped)
"""


@pytest.mark.parametrize(
    'tool', ['decide.py', 'verify_dataset.py', pytest.param('report.py', marks=pytest.mark.slow), 'test.py']
)
def test_mmpretrains_data_sets_inside_mmengines_wrappers(check_tool, short_config, tmp_path, tool):
    """These build what they wrap in the default scope, which each tool must have set by then."""
    config = short_config(FOLDERS.format(root=str(write_images(tmp_path / 'd'))))
    model = mmdensenet.get_model(str(config))
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'w.pth')
    clear_state()
    options = {
        'decide.py': (tmp_path / 'w.pth', '--out', tmp_path / 'decided.pth'),
        'verify_dataset.py': ('--workers', '0'),
        'report.py': (tmp_path / 'w.pth', '--out', tmp_path / 'r.html', '--bootstrap', '0', '--no-measure'),
        'test.py': (tmp_path / 'w.pth', '--work-dir', tmp_path / 't'),
    }[tool]
    check_tool(tool, config, *options)
