"""tools/export.py writes files that describe themselves and predict what the checkpoint predicts."""

import json
import re

import numpy as np
import pytest
import torch
from helpers import randomise
from imagenet_config import write_imagenet_config
from PIL import Image
from sklearn.metrics import roc_auc_score

import mmdensenet
from mmdensenet.apis import ExportedInferencer, Inferencer, open_inferencer
from mmdensenet.errors import UserError
from mmdensenet.serving.predictor import Predictor

pytest.importorskip('onnxruntime', reason='the extra export is not installed')
pytest.importorskip('onnxscript', reason='the extra export is not installed')
pytest.importorskip('openvino', reason='the extra export is not installed')


@pytest.fixture
def images(tmp_path):
    """Three classes with four images each, of several sizes and colours."""
    rng = np.random.default_rng(0)
    for label in range(3):
        folder = tmp_path / 'images' / f'class_{label}'
        folder.mkdir(parents=True)
        for i in range(4):
            pixels = rng.integers(0, 160, (6, 6, 3)) + 95 * np.eye(3, dtype=int)[label]
            Image.fromarray(pixels.astype(np.uint8)).resize((40 + i, 48)).save(folder / f'{i}.png')
    return tmp_path / 'images'


@pytest.fixture
def config(tmp_path, images):
    """A small classifier with ImageNet's pipeline, for images of 32x32."""
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='ResizeEdge', scale=36, edge='short'),
        dict(type='CenterCrop', crop_size=32),
        dict(type='PackInputs'),
    ]
    return write_imagenet_config(tmp_path / 'tiny.py', images, ('cat', 'dög "1"', 'emu'), repr(pipeline))


@pytest.fixture
def checkpoint(tmp_path, config, images):
    model = randomise(mmdensenet.get_model(str(config)))
    files = sorted(images.rglob('*.png'))
    bgr = [np.asarray(Image.open(file).resize((32, 32)))[..., ::-1] for file in files]
    calibrated(model, torch.from_numpy(np.stack(bgr).transpose(0, 3, 1, 2).copy()))
    torch.save(
        dict(meta=dict(dataset_meta=dict(classes=('cat', 'dög "1"', 'emu'))), state_dict=model.state_dict()),
        tmp_path / 'w.pth',
    )
    return tmp_path / 'w.pth'


def calibrated(model, pixels):
    """Running statistics of these images' activations, so that the scores tell the images apart."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.5
    model.train()
    with torch.no_grad():
        for _ in range(4):
            model(model.data_preprocessor(dict(inputs=pixels))['inputs'])
    return model.eval()


SUFFIX = {'onnx': '.onnx', 'openvino': '.xml', 'torch-export': '.pt2'}


@pytest.mark.parametrize(
    ('format', 'extra'),
    [
        pytest.param('onnx', ['--batch', '5'], marks=pytest.mark.slow),
        ('onnx', ['--with-preprocess', '--dynamic']),
        ('openvino', ['--with-preprocess', '--batch', '3']),
        pytest.param('openvino', ['--dynamic'], marks=pytest.mark.slow),
        pytest.param('torch-export', ['--batch', '7'], marks=pytest.mark.slow),
        ('torch-export', ['--with-preprocess', '--dynamic']),
    ],
)
def test_the_same_predictions(check_tool, config, checkpoint, images, tmp_path, format, extra):
    out = tmp_path / f'tiny{SUFFIX[format]}'
    out.with_suffix('.bin').write_bytes(bytes(10**6))  # left by an earlier export
    done = check_tool('export.py', config, checkpoint, '--format', format, '--out', out, *extra)
    assert 'Against PyTorch on 12 images: the same top-1 for 100.00 %' in done.out
    who = 'The graph does' if '--with-preprocess' in extra else 'the caller (or `mmdensenet predict'
    (line,) = [line for line in done.out.splitlines() if 'ResizeEdge, CenterCrop' in line]
    assert who in line and 'Top-1 accuracy' in done.out
    files = [out, out.with_suffix('.bin')] if format == 'openvino' else [out]
    assert f'{sum(file.stat().st_size for file in files) / 1e6:.1f} MB' in done.out
    expected = Inferencer(str(config), str(checkpoint))(images)
    exported = open_inferencer(out)
    assert isinstance(exported, ExportedInferencer)
    assert exported.classes == ['cat', 'dög "1"', 'emu']
    for given, wanted in zip(exported(images), expected, strict=True):
        assert given['img_path'] == wanted['img_path'] and given['pred_class'] == wanted['pred_class']
        assert np.abs(given['pred_scores'] - wanted['pred_scores']).max() < 1e-5
    pixels = np.asarray(Image.open(images / 'class_1/0.png'))[..., ::-1]  # arrays are BGR
    assert np.abs(exported(pixels)[0]['pred_scores'] - expected[4]['pred_scores']).max() < 1e-5
    served, wanted = Predictor(exported), (images / 'class_2/3.png').read_bytes()
    served.warm_up()
    prepared = [served.prepare(content)[1] for content in (wanted, (images / 'class_0/1.png').read_bytes(), wanted)]
    assert np.abs(served.predict(prepared)[2] - expected[11]['pred_scores']).max() < 1e-5
    about = exported.metadata
    assert about.model == 'tiny' and about.checkpoint == 'w.pth' and len(about.sha256) == 64
    assert about.version == mmdensenet.__version__ and about.size == [32, 32]
    for file in (out, out.with_suffix('.bin')):
        assert not file.is_file() or str(mmdensenet.__path__[0]).encode() not in file.read_bytes()
    listed = check_tool('predict.py', images, '--model', out, '--json', '--topk', '1')
    assert [r['predictions'][0]['class'] for r in json.loads(listed.out)] == [r['pred_class'] for r in expected]


@pytest.mark.parametrize('format', ['onnx', pytest.param('openvino', marks=pytest.mark.slow)])
def test_int8(check_tool, config, checkpoint, images, tmp_path, format):
    out = tmp_path / f'tiny{SUFFIX[format]}'
    arguments = ['--format', format, '--out', out, '--int8', '--calib', '12', '--dynamic', '--with-preprocess']
    done = check_tool('export.py', config, checkpoint, *arguments)
    assert 'Calibrated with 12 images of the training set' in done.out and 'Top-1 accuracy' in done.out
    expected = np.stack([r['pred_scores'] for r in Inferencer(str(config), str(checkpoint))(images)])
    exported = open_inferencer(out)
    given = np.stack([r['pred_scores'] for r in exported(images)])
    assert exported.metadata.int8 and exported.metadata.calibration == 12
    spread = np.abs(expected - expected.mean(0)).max()
    assert 0 < np.abs(given - expected).max() < 0.1 * spread


def test_int8_of_several_labels(check_tool, config, checkpoint, images, tmp_path):
    rows = [
        f'{file.relative_to(images)},{int(i == 0)},{int(i == 1)},'
        for i in range(3)
        for file in sorted((images / f'class_{i}').iterdir())
    ]
    (images / 'labels.csv').write_text('\n'.join(['image,red,green,unknown', *rows]))
    text = config.read_text().replace(
        "type='CustomDataset'",
        "type='mmdensenet.CSVDataset', ann_file='labels.csv', data_prefix='', image_column='image', "
        "label_columns=['red', 'green', 'unknown'], uncertain='ignore', missing='ignore', test_mode=True",
    )
    head = "head=dict(_delete_=True, type='MultiLabelLinearClsHead', in_channels=16, num_classes=3)"
    text = text.replace('head=dict(in_channels=16, num_classes=3, topk=(1,))', head)
    config.write_text(text.replace('metainfo=names, ', ''))
    saved = torch.load(checkpoint)
    torch.save({**saved, 'meta': dict(dataset_meta=dict(classes=('red', 'green', 'unknown')))}, checkpoint)
    done = check_tool('export.py', config, checkpoint, '--int8', '--out', tmp_path / 'm.onnx')
    ours, theirs = re.search(r'Mean area under the ROC curve: (\S+) %, PyTorch (\S+) %', done.out).groups()
    model = Inferencer(str(config), str(checkpoint))
    scores = np.stack(
        [r['pred_scores'] for i in range(3) for r in model(list(map(str, sorted((images / f'class_{i}').iterdir()))))]
    )
    wanted = np.mean([roc_auc_score(np.arange(12) // 4 == i, scores[:, i]) for i in range(2)])
    assert float(theirs) == pytest.approx(100 * wanted, abs=0.01) and abs(float(ours) - float(theirs)) < 10


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--format', 'torch-export', '--int8'], 'no integer convolutions'),
        (['--batch', '0'], '--batch 0'),
        (['--out', 'x.xml'], 'must end in .onnx'),
        (['--input-size', '0', '4'], '--input-size 0 4'),
        (['--input-size', '100000', '100000'], 'at most 134,217,728'),
        (['--input-size', '3', '40'], 'the model cannot take images of 3 x 40 pixels'),
        (['--out', 'tiny.py/x.onnx'], '--out tiny.py/x.onnx cannot be written (File exists)'),
        (['--out', 'folder.onnx'], '--out folder.onnx cannot be written (Is a directory)'),
        (['--cfg-options', 'test_dataloader=None', '--images', 'images'], 'no test_dataloader.dataset.pipeline'),
        (
            ['--with-preprocess', '--cfg-options', 'test_dataloader.dataset.pipeline.1.interpolation=lanczos'],
            "ResizeEdge (step 2 of the test pipeline): 'lanczos'",
        ),
        (['--cfg-options', 'test_dataloader.dataset.data_root=gone'], 'test_dataloader.dataset.data_root'),
    ],
)
def test_mistakes(run_tool, config, checkpoint, monkeypatch, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'folder.onnx').mkdir()
    done = run_tool('export.py', config, checkpoint, *arguments)
    assert done.status == 2 and message in done.err, done.err
    assert len(done.err.strip().splitlines()) <= 2


def test_a_file_that_does_not_say_what_it_is(tmp_path):
    import onnx
    from onnx import TensorProto, helper

    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in 'ab']
    graph = helper.make_graph([helper.make_node('Relu', ['a'], ['b'])], 'g', value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 20)], ir_version=10)
    onnx.save(model, str(tmp_path / 'other.onnx'))
    with pytest.raises(UserError, match='does not say what it is'):
        open_inferencer(tmp_path / 'other.onnx')
    for name in ('broken.onnx', 'broken.xml', 'broken.pt2'):
        (tmp_path / name).write_bytes(b'nothing of this kind')
        with pytest.raises(UserError, match='cannot be read'):
            open_inferencer(tmp_path / name)
    with pytest.raises(UserError, match='does not exist'):
        open_inferencer(tmp_path / 'gone.onnx')
