"""What every backbone has to pass, as scikit-learn's check_estimator: each tool, on one small trained classifier.

A new backbone is put through by a line in tests/support/backbones.py.
"""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import own_images
import pytest
import torch
from backbones import BACKBONES
from conftest import clear_state, write_images
from helpers import assert_equal
from mmengine.config import Config
from mmengine.registry import MODELS

import mmdensenet
from mmdensenet.analysis.cam import class_activation
from mmdensenet.apis import Inferencer, export_model, get_model, open_inferencer, train_model
from mmdensenet.apis.complexity import complexity
from mmdensenet.convert import convert_checkpoint

CONFIG = """_base_ = 'mmdensenet::densenet121_4xb256_in1k.py'
model = dict(
    backbone=dict(_delete_=True, **{backbone!r}),
    neck={neck!r},
    head=dict(in_channels={channels}, num_classes=3, topk=(1,)),
)
data_preprocessor = dict(num_classes=3)
data = dict(
    _delete_=True,
    type='CustomDataset',
    data_root={images!r},
    pipeline=[dict(type='LoadImageFromFile'), dict(type='Resize', scale=32), dict(type='PackInputs')],
)
train_dataloader = dict(batch_size=6, num_workers=0, dataset=data)
val_dataloader = dict(batch_size=5, num_workers=0, dataset=data)
test_dataloader = val_dataloader
val_evaluator = dict(topk=(1,))
test_evaluator = val_evaluator
optim_wrapper = dict(_delete_=True, optimizer=dict(type='AdamW', lr=0.02))
param_scheduler = None
train_cfg = dict(max_epochs=2, val_interval=2)
del data
"""


@pytest.fixture(scope='module', params=BACKBONES)
def trained(request, tmp_path_factory):
    """A config and the checkpoint of four steps: ``file``, ``checkpoint``, ``images`` and the runner's ``state``."""
    backbone, neck = BACKBONES[request.param]
    folder = tmp_path_factory.mktemp('backbone')
    images = write_images(folder / 'images', classes=3, per_class=4, size=40)
    channels = MODELS.build(dict(backbone)).out_channels[-1]
    neck = dict(type='GlobalAveragePooling') if neck is None else dict(type=neck, in_channels=channels)
    neck = dict(neck, _delete_=True)
    file = folder / 'small.py'
    file.write_text(CONFIG.format(backbone=backbone, neck=neck, channels=channels, images=str(images)))
    torch.manual_seed(0)
    runner = train_model(str(file), work_dir=str(folder / 'w'))
    state = {key: value.detach().clone() for key, value in runner.model.state_dict().items()}
    clear_state()
    return SimpleNamespace(
        backbone=backbone, file=str(file), checkpoint=str(folder / 'w/epoch_2.pth'), images=images, state=state
    )


@pytest.fixture
def model(trained):
    return get_model(trained.file, trained.checkpoint)


def test_a_checkpoint_is_what_was_trained(trained, model):
    before = get_model(trained.file).state_dict()
    assert_equal(dict(model.state_dict()), trained.state)
    weights = [key for key in before if key.startswith('backbone.') and before[key].dim() > 1]
    assert not any(torch.equal(before[key], trained.state[key]) for key in weights)


def test_test_and_predict_agree(trained, check_tool, tmp_path):
    out = tmp_path / 'test.json'
    check_tool('test.py', trained.file, trained.checkpoint, '--work-dir', tmp_path / 't', '--out', out)
    options = ['--model', trained.file, '--checkpoint', trained.checkpoint, '--json']
    assert check_tool('predict.py', trained.images, *options).out.count('"img_path"') == 12
    tested = {image['img_path']: image['pred_score'] for image in json.loads(out.read_text())}
    predicted = Inferencer(get_model(trained.file, trained.checkpoint))(str(trained.images))
    assert len(tested) == len(predicted) == 12
    expected = np.stack([tested[path] for path in sorted(tested)])
    assert expected.std() > 1e-3
    np.testing.assert_allclose(np.stack([one['pred_scores'] for one in predicted]), expected, atol=1e-5)


def test_report(trained, check_tool, tmp_path):
    page = tmp_path / 'report.html'
    check_tool('report.py', trained.file, trained.checkpoint, '--out', page, '--no-measure', '--bootstrap', '5')
    text = page.read_text()
    assert 'class_2' in text and trained.backbone['type'].rpartition('.')[2] in text


@pytest.mark.parametrize('layer', [None, 'backbone.stages.0'])
def test_activation_maps(model, layer):
    maps = class_activation(model, torch.randn(2, 3, 32, 32), method='gradcam', layer=layer)
    assert maps.shape == (2, 32, 32) and np.isfinite(maps).all() and 0 <= maps.min() <= maps.max() <= 1
    assert layer is None or maps.std() > 0


@pytest.mark.parametrize('format', ['onnx', pytest.param('openvino', marks=pytest.mark.slow), 'torch-export'])
def test_exported_files_give_the_same_scores(trained, format, tmp_path):
    pytest.importorskip('onnxscript', reason='the extra export is not installed')
    suffix = dict(onnx='onnx', openvino='xml')
    out = tmp_path / f'net.{suffix.get(format, "pt2")}'
    done = export_model(trained.file, trained.checkpoint, str(out), format, dynamic=True)
    assert done.images == 12 and done.agreement == 1 and done.difference < 1e-5
    if format != 'torch-export':
        out = tmp_path / f'int8.{suffix[format]}'
        done = export_model(trained.file, trained.checkpoint, str(out), format, int8=True, dynamic=True)
        assert done.images == 12 and 1e-7 < done.difference < 0.03, 'computed in integers'
        assert done.metadata.int8 and done.metadata.calibration == 12


def test_complexity_counts_what_the_model_has(trained, model):
    found = complexity(trained.file, measure=False)
    assert found['parameters'] == sum(parameter.numel() for parameter in model.parameters())
    assert found['not_fused'] is None and set(found['memory']) == {'reference', 'fused'}
    for engine in ('reference', 'fused'):
        assert found['multiply_adds'][engine] == sum(stage['multiply_adds'][engine] for stage in found['stages']) > 1e5
        assert found['memory'][engine]['predicted']['bytes_per_image'] > 1e4


def test_own_checkpoints_are_recognised(trained, model, tmp_path):
    report = convert_checkpoint(trained.checkpoint, str(tmp_path / 'converted.pth'))
    assert not report.left and not report.missing
    again = get_model(trained.file, str(tmp_path / 'converted.pth'))
    assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in model.state_dict().items()}
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(again(images), model(images))
    kind = dict(type=trained.backbone['type'], **report.architecture.backbone())
    assert MODELS.build(kind).state_dict().keys() == model.backbone.state_dict().keys()


def test_engines_channels_last_and_other_images(trained, model):
    """One function, whatever computes it; other channels and classes keep the backbone's other weights."""
    images = torch.randn(2, 3, 40, 33)
    with torch.no_grad():
        expected = model.backbone(images)[-1]
        for changed in (dict(engine='reference'), dict(channels_last=True), dict(memory_efficient=True)):
            other = MODELS.build(dict(trained.backbone, **changed)).eval()
            other.load_state_dict(model.backbone.state_dict())
            torch.testing.assert_close(other(images)[-1], expected, rtol=1e-4, atol=1e-5)
    grey = get_model(trained.file, trained.checkpoint, in_channels=1, num_classes=2)
    assert grey(torch.randn(1, 1, 32, 32)).shape == (1, 2)
    rest = {key: value for key, value in grey.backbone.state_dict().items() if key != 'stem.0.weight'}
    assert all(torch.equal(value, model.backbone.state_dict()[key]) for key, value in rest.items())


def test_fit_writes_a_config_of_it(trained, tmp_path):
    """Network, grey adaptation, head first, memory and time, without the training."""
    data, lines = own_images.class_folders(tmp_path / 'data', 10, ('disc', 'square'), side=40), []
    options = dict(network=trained.file, weights=trained.checkpoint, work_dir=tmp_path / 'work')
    done = mmdensenet.fit(data, dry_run=True, report=lines.append, **options)
    cfg = Config.fromfile(done.config)
    assert MODELS.build(dict(cfg.model.backbone, in_channels=3)).state_dict().keys() == {
        key.removeprefix('backbone.') for key in trained.state if key.startswith('backbone.')
    }
    assert cfg.model.backbone.in_channels == 1 and cfg.custom_hooks[0].type == 'mmdensenet.HeadFirstHook'
    model = get_model(cfg, cfg.load_from, num_classes=2, in_channels=1)
    stem, own = model.backbone.stem[0].weight, trained.state['backbone.stem.0.weight']
    torch.testing.assert_close(stem, own.sum(1, keepdim=True))
    side = cfg.test_pipeline[1].scale[0] if cfg.test_pipeline[1].type == 'Resize' else 40
    assert model(torch.randn(1, 1, side, side)).shape == (1, 2)
    assert any('the network that was asked for' in line for line in lines)
    assert any('training will take about' in line for line in lines)


@pytest.fixture(scope='module')
def divided(tmp_path_factory):
    """Grey images of two classes, bright and dark, in three parts."""
    root, rng = tmp_path_factory.mktemp('own'), np.random.default_rng(0)
    for part, each in (('train', 24), ('val', 20), ('test', 12)):
        for i in range(2 * each):
            pixels = rng.integers(0, 90, (40, 40)) + 120 * (i % 2)
            own_images.write(root / part / ('dark', 'light')[i % 2] / f'{part}{i:02d}.png', pixels.astype(np.uint8))
    return root


@pytest.mark.slow
@pytest.mark.parametrize('folds', [None, 3])
def test_fit(trained, divided, tmp_path, monkeypatch, folds):
    """All seven steps, from its weights; what is handed over decides as the model, or as the ensemble of the folds."""
    pytest.importorskip('onnxscript', reason='the extra export is not installed')
    options = dict(network=trained.file, weights=trained.checkpoint, folds=folds, group='none')
    monkeypatch.setattr('mmdensenet.apis.fit.schedule_length.MOST_EPOCHS', 20)
    images = divided / 'test' / 'light'
    done = mmdensenet.fit(divided, work_dir=tmp_path, predict=images, report=lambda line: None, **options)
    assert len(done.checkpoints) == (folds or 1)
    assert done.figures['decisions']['ood_threshold'] is not None
    assert done.figures['judgement']['overall']['accuracy']['value'] > 0.9, 'bright and dark are told apart'
    assert trained.backbone['type'].rpartition('.')[2] in Path(done.files['report']).read_text()
    exported = open_inferencer(done.files['onnx'])(str(images))
    submitted = Path(done.files['submission']).read_text().splitlines()[1:]
    assert len(exported) == len(submitted) == 12
    for one, line in zip(exported, submitted):
        np.testing.assert_allclose(one['pred_scores'], [float(v) for v in line.split(',')[1:]], atol=1e-4)
    if folds is None:
        model = open_inferencer(done.config, done.checkpoints[0])(str(images))
        for one, other in zip(exported, model):
            np.testing.assert_allclose(one['pred_scores'], other['pred_scores'], atol=1e-4)
            assert one['pred_label'] == other['pred_label']
