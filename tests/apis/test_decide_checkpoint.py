"""Decisions written into a checkpoint, and what predict, test, serve and exported files make of them."""

import importlib.util
import json

import numpy as np
import pytest
import torch
from decided_digits import LABELS, digit_images, make_digits
from mmengine.config import Config
from scipy.special import softmax

import mmdensenet
from mmdensenet.apis import export_model, open_inferencer, test_model
from mmdensenet.apis.decide_checkpoint import ALSO_TEST, VALIDATION, decide_checkpoint, what_is_decided_on
from mmdensenet.apis.runner import open_config
from mmdensenet.apis.scoring import score_part
from mmdensenet.apis.visualize import draw_cam
from mmdensenet.checkpoints.checkpoint_meta import DECISIONS, write_meta
from mmdensenet.errors import UserError
from mmdensenet.results.decisions import Decisions
from mmdensenet.results.preparation import NO_STEPS
from mmdensenet.serving import Predictor


def test_where_it_cannot_be_written_is_found_first(plain, tmp_path, monkeypatch):
    monkeypatch.delattr('mmdensenet.apis.decide_checkpoint.score_part')
    (tmp_path / 'd.pth').mkdir()
    for out in ('d.pth', 'd.safetensors'):
        with pytest.raises(UserError, match=rf'{out} cannot be written'):
            decide_checkpoint(*plain, tmp_path / out)
    for options, said in ((dict(operating_point='sensitivity=2'), 'sensitivity=2'), (dict(coverage=90), 'coverage=90')):
        with pytest.raises(UserError, match=f'^.*{said}: give'):
            decide_checkpoint(*plain, tmp_path / 'new.pth', **options)


def test_what_is_in_the_checkpoint(plain, decided):
    _, checkpoint, decisions = decided
    read = torch.load(checkpoint, weights_only=True)
    assert Decisions.from_dict(read['meta'][DECISIONS], checkpoint) == decisions
    assert decisions.part == 'the validation part' and decisions.samples == 200
    assert 1.2 < decisions.temperatures[0] < 20, 'the logits were made too large'
    scores = score_part(*plain, 'val')
    assert len(scores) == 200 and scores.logits.shape == (200, 10)
    assert DECISIONS not in torch.load(plain[1], weights_only=True)['meta'], 'the other file stays'


def results_are_the_same(given, wanted):
    for one, other in zip(given, wanted, strict=True):
        for key in ('pred_label', 'pred_class', 'conformal_set', 'ood'):
            assert one[key] == other[key], key
        # rounding of float32 logits, which the head of these tests makes large
        assert np.abs(one['pred_scores'] - other['pred_scores']).max() < 1e-4


@pytest.mark.parametrize(
    ('format', 'suffix'),
    [('onnx', 'onnx'), pytest.param('openvino', 'xml', marks=pytest.mark.slow), ('torch-export', 'pt2')],
)
def test_an_exported_file_decides_as_the_checkpoint(decided, tmp_path, format, suffix):
    pytest.importorskip('onnxruntime')
    pytest.importorskip('openvino')
    config, checkpoint, decisions = decided
    done = export_model(config, checkpoint, tmp_path / f'm.{suffix}', format, dynamic=True, check=1)
    assert done.metadata.decisions == decisions.to_dict()
    assert (done.agreement, done.same_sets, done.same_flags) == (1, 1, 1)
    images = digit_images(0, 450)  # those of the validation too, which the thresholds come from
    exported = open_inferencer(tmp_path / f'm.{suffix}')
    wanted = open_inferencer(config, checkpoint)(images, 450)
    assert exported.decisions == decisions
    results_are_the_same(exported(images, 450), wanted)
    assert len({tuple(result['conformal_set']) for result in wanted}) > 10
    assert 0 < np.mean([result['ood'] for result in wanted]) < 0.2


@pytest.fixture(scope='module')
def labels(tmp_path_factory):
    """A model of several labels, as ``plain``."""
    config, checkpoint = make_digits(tmp_path_factory.mktemp('labels'), LABELS, 1.0)
    return config, checkpoint, decide_checkpoint(config, checkpoint, operating_point='sensitivity=0.9')


def is_predicted(results) -> np.ndarray:
    return np.array([[label in result['pred_label'] for label in range(10)] for result in results])


def test_several_labels(labels, tmp_path):
    config, checkpoint, decisions = labels
    assert decisions.multi_label and {point.rule for point in decisions.points} == {'sensitivity=0.9'}
    images = digit_images(0, 200)
    wanted = open_inferencer(config, checkpoint)(images, 200)
    truth, found = score_part(config, checkpoint, 'val').truth, is_predicted(wanted)
    for label, point in enumerate(decisions.points):
        assert found[truth[:, label] == 1, label].mean() == point.sensitivity >= 0.9
    export_model(config, checkpoint, tmp_path / 'm.pt2', 'torch-export', dynamic=True, check=1)
    results_are_the_same(open_inferencer(tmp_path / 'm.pt2')(images, 200), wanted)


@pytest.mark.slow
@pytest.mark.parametrize(('format', 'suffix'), [('onnx', 'onnx'), ('openvino', 'xml')])
def test_integers(labels, tmp_path, format, suffix):
    config, checkpoint, decisions = labels
    images = digit_images(0, 200)
    wanted = is_predicted(open_inferencer(config, checkpoint)(images, 200))
    export_model(config, checkpoint, tmp_path / f'm.{suffix}', format, dynamic=True, int8=True, calib=32, check=1)
    exported = open_inferencer(tmp_path / f'm.{suffix}')
    rough = exported(images, 200)
    assert exported.decisions == decisions and (is_predicted(rough) == wanted).mean() > 0.9
    assert 'ood' in rough[0] and rough[0]['pred_class'] == [str(label) for label in rough[0]['pred_label']]


def test_without_decisions_all_is_as_before(plain, tmp_path, run_tool):
    """The results' keys, the description in a file, and what the tools print."""
    images = digit_images(0, 2)
    result = open_inferencer(*plain)(images)[0]
    assert set(result) == {'pred_scores', 'pred_label', 'pred_score', 'pred_class'}
    assert result['pred_scores'].dtype == np.float32
    done = export_model(*plain, tmp_path / 'm.pt2', 'torch-export', check=1)
    assert 'decisions' not in json.loads(done.metadata.to_json())
    np.save(tmp_path / 'digit.npy', images[0])
    said = run_tool('predict.py', tmp_path / 'digit.npy', '--model', plain[0], '--checkpoint', plain[1], '--json')
    assert set(json.loads(said.out)[0]) == {'img_path', 'predictions'}
    assert 'The scores are uncalibrated' in said.err


def test_the_tools_say_what_is_decided(decided, tmp_path, run_tool):
    config, checkpoint, _ = decided
    np.save(tmp_path / 'digit.npy', digit_images(0, 1)[0])
    options = ['--model', config, '--checkpoint', checkpoint, '--topk', '1']
    said = run_tool('predict.py', tmp_path / 'digit.npy', *options)
    assert 'Scores are calibrated (temperature' in said.err and '200 images of the validation part' in said.err
    *_, third = said.out.splitlines()
    assert third.startswith('  decided: ') and '; set: ' in third
    [record] = json.loads(run_tool('predict.py', tmp_path / 'digit.npy', *options, '--json').out)
    assert set(record['decision']) == {'label', 'class', 'conformal_set', 'ood', 'ood_score'}
    predictor = Predictor(open_inferencer(config, checkpoint))
    prepared = predictor.inferencer.prepare(digit_images(0, 1)[0])
    best, answer = predictor.answer(predictor.predict([prepared])[0], 1)
    assert answer == dict(predictions=record['predictions'], decision=record['decision'])
    assert best == record['predictions'][0]['label']


def test_decisions_do_not_travel_to_other_weights(plain, decided, tmp_path):
    config, checkpoint, decisions = decided
    read = torch.load(checkpoint, weights_only=True)
    read['state_dict']['head.fc.bias'][0] += 1e-3
    torch.save(read, tmp_path / 'other.pth')
    for use in (
        lambda: open_inferencer(config, str(tmp_path / 'other.pth')),
        lambda: export_model(config, str(tmp_path / 'other.pth'), tmp_path / 'm.onnx'),
        lambda: test_model(config, str(tmp_path / 'other.pth'), work_dir=str(tmp_path)),
    ):
        with pytest.raises(UserError, match='were made for other weights'):
            use()
    again = decide_checkpoint(config, str(tmp_path / 'other.pth'), tmp_path / 'again.pth')
    assert again.weights != decisions.weights, 'as the message says'
    write_meta(checkpoint, DECISIONS, {**decisions.to_dict(), 'temperatures': [-1.0]}, tmp_path / 'wrong.pth')
    with pytest.raises(UserError, match=r'wrong\.pth: its decisions have wrong temperatures'):
        open_inferencer(config, str(tmp_path / 'wrong.pth'))
    other_head = mmdensenet.get_model(config, checkpoint, num_classes=3)
    assert open_inferencer(other_head, classes=list('abc')).decisions is None, 'a new head is uncalibrated'


def test_decisions_are_for_images_that_are_prepared_as_those_of_the_fit(decided, tmp_path):
    config, checkpoint, decisions = decided
    assert decisions.prepared[0] == NO_STEPS and 'mean=[77.9]' in decisions.prepared[1]
    steps = [dict(type='CenterCrop', crop_size=6), dict(type='PackInputs')]
    crop, mean = {'test_dataloader.dataset.pipeline': steps}, {'data_preprocessor.mean': [70.0]}
    for options, said in ((crop, r'CenterCrop\(crop_size=6\)'), (mean, r'mean=\[70.0\]')):
        cfg = open_config(config, options)
        for use in (
            lambda cfg: open_inferencer(cfg, checkpoint),
            lambda cfg: export_model(cfg, checkpoint, tmp_path / 'm.pt2', 'torch-export'),
            lambda cfg: test_model(cfg, checkpoint, work_dir=str(tmp_path)),
        ):
            with pytest.raises(UserError, match=f'for images that are prepared otherwise: .* in the place of .*{said}'):
                use(cfg)
    with pytest.raises(UserError, match=r'prepared otherwise: .* in the place of Resize\(scale=\[6, 6\]\)'):
        export_model(config, checkpoint, tmp_path / 'm.pt2', 'torch-export', input_size=(6, 6))
    with pytest.raises(
        UserError, match='val_dataloader and test_dataloader prepare images otherwise: as they are read'
    ):
        decide_checkpoint(config, checkpoint, tmp_path / 'd.pth', cfg_options=crop)
    again = decide_checkpoint(config, checkpoint, tmp_path / 'd.pth', cfg_options=mean)
    assert open_inferencer(open_config(config, mean), str(tmp_path / 'd.pth')).decisions == again
    with pytest.raises(UserError, match='prepared otherwise'):
        open_inferencer(config, str(tmp_path / 'd.pth'))


@pytest.mark.skipif(importlib.util.find_spec('pytorch_grad_cam') is None, reason='grad-cam is not installed')
def test_activation_maps_are_of_what_is_decided(decided, tmp_path, monkeypatch):
    config, checkpoint, _ = decided
    np.save(tmp_path / 'digit.npy', digit_images(0, 1)[0])
    titles = []
    monkeypatch.setattr(
        'mmdensenet.apis.visualize.picture_grid', lambda _, given, *more, **options: titles.extend(given)
    )
    monkeypatch.setattr('mmdensenet.apis.visualize.add_colour_bar', lambda figure: None)
    monkeypatch.setattr('mmdensenet.apis.visualize.save_figure', lambda figure, out: out)
    draw_cam(config, checkpoint, [str(tmp_path / 'digit.npy')], tmp_path / 'cam.png', methods=['gradcam'])
    [result] = open_inferencer(config, checkpoint)(str(tmp_path / 'digit.npy'))
    [[_, title]] = titles
    assert title == f'gradcam: {result["pred_class"]} {result["pred_score"]:.2f}'
    assert abs(result['pred_score'] - softmax(result['logits']).max()) > 0.01, 'the temperature matters'


def test_weights_that_give_no_numbers(decided, tmp_path):
    model = mmdensenet.get_model(*decided[:2])
    inferencer = open_inferencer(model)
    model.head.fc.bias.data[:] = float('nan')
    with pytest.raises(UserError, match='not finite numbers: the weights are damaged'):
        inferencer(digit_images(0, 1))
    prepared = inferencer.prepare(digit_images(0, 1)[0])
    assert np.isnan(Predictor(inferencer).predict([prepared])[0]).all(), 'the server says so itself'


def test_the_command(plain, tmp_path, run_tool, check_tool):
    done = check_tool('decide.py', *plain, '--out', tmp_path / 'd.pth', '--operating-point', 'f1', '--coverage', '0.8')
    assert 'labels are decided by f1, sets cover 80%: fitted on 200 images of the validation part.' in done.out
    assert f'The decisions are in {tmp_path / "d.pth"}' in done.out
    done = run_tool('decide.py', *plain, '--operating-point', 'best')
    assert done.status == 2 and '--operating-point best' in done.err
    none = ['val_dataloader=None', 'val_cfg=None', 'val_evaluator=None']
    done = run_tool('decide.py', *plain, '--cfg-options', *none)
    assert done.status == 2 and 'no val_dataloader' in done.err


def test_a_validation_part_that_is_the_test_part_too_is_said():
    part = dict(type='Digits', split='test', pipeline=[dict(type='PackInputs')])
    for test, part_of in (
        (dict(part, pipeline=[]), ALSO_TEST),
        (dict(part, indices=3), VALIDATION),
        (None, VALIDATION),
    ):
        cfg = Config(dict(val_dataloader=dict(dataset=part), test_dataloader=test and dict(dataset=test)))
        assert what_is_decided_on(cfg) == part_of
