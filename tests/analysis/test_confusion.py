"""mmdensenet.analysis.confusion: matrices and the files they are read from."""

import json

import numpy as np
import pytest
import sklearn.metrics
import torch

from mmdensenet.analysis.confusion import (
    confusion_figure,
    confusion_matrix,
    label_counts,
    label_counts_figure,
    most_confused,
    read_predictions,
)
from mmdensenet.errors import UserError
from mmdensenet.results.predictions import DumpPredictions


def _require(suffix):
    if suffix == 'parquet':
        pytest.importorskip('pyarrow', reason='pyarrow is not installed')


def dump(file, samples):
    """What tools/test.py --out writes."""
    metric = DumpPredictions(str(file))
    metric.process(None, samples)
    metric.compute_metrics(metric.results)
    return file


@pytest.fixture(params=['npz', 'json', 'parquet'])
def single(request, tmp_path):
    _require(request.param)
    rng = np.random.default_rng(0)
    scores, truth = rng.random((60, 4)).astype(np.float32), rng.integers(0, 4, 60)
    samples = [
        dict(
            img_path=f'{i}.jpg',
            gt_label=torch.tensor([t]),
            pred_label=torch.tensor(s).argmax(0, keepdim=True),
            pred_score=torch.tensor(s),
        )
        for i, (s, t) in enumerate(zip(scores, truth))
    ]
    return dump(tmp_path / f'p.{request.param}', samples), truth, scores.argmax(1)


def test_the_matrix_is_scikit_learns(single):
    file, truth, predicted = single
    predictions = read_predictions(file)
    assert not predictions.multi_label
    matrix = confusion_matrix(predictions)
    assert (matrix == sklearn.metrics.confusion_matrix(truth, predicted)).all()


@pytest.fixture(params=['npz', 'json', 'parquet'])
def several(request, tmp_path):
    _require(request.param)
    truth = np.array([[1, 0, -1], [1, 1, 0], [0, 0, 1], [0, -1, 1]], dtype=np.float32)
    scores = np.array([[0.9, 0.2, 0.8], [0.1, 0.7, 0.6], [0.2, 0.1, 0.4], [0.3, 0.9, 0.8]], dtype=np.float32)
    samples = [
        dict(
            gt_score=torch.tensor(t), pred_score=torch.tensor(s), pred_label=torch.nonzero(torch.tensor(s) > 0.5)[:, 0]
        )
        for t, s in zip(truth, scores)
    ]
    return dump(tmp_path / f'p.{request.param}', samples)


def test_several_labels(several):
    predictions = read_predictions(several)
    assert predictions.multi_label
    assert predictions.classes == 3
    # present and predicted, present and missed, absent and predicted, absent and not predicted
    assert label_counts(predictions).tolist() == [[1, 1, 0, 2], [1, 0, 0, 2], [1, 1, 1, 0]]


def test_soft_labels_are_counted_as_everywhere(tmp_path):
    """Above 0.5 positive, and no image is left out but those with unknown labels."""
    samples = [
        dict(gt_score=torch.tensor([t]), pred_score=torch.tensor([0.9]), pred_label=torch.tensor([0]))
        for t in (1.0, 0.7, 0.5, 0.2, 0.0, -1.0)
    ]
    predictions = read_predictions(dump(tmp_path / 'p.json', samples))
    assert label_counts(predictions).tolist() == [[2, 0, 3, 0]]


def test_normalisations():
    matrix = np.array([[8, 2], [1, 3]])
    image = confusion_figure(matrix).axes[0].images[0]
    np.testing.assert_allclose(image.get_array(), [[80, 20], [25, 75]])
    image = confusion_figure(matrix, normalise='predicted').axes[0].images[0]
    np.testing.assert_allclose(image.get_array(), [[800 / 9, 40], [100 / 9, 60]])
    axes = confusion_figure(matrix, ['cat', 'dog'], normalise='none').axes[0]
    assert [text.get_text() for text in axes.texts] == ['8', '2', '1', '3']
    assert [label.get_text() for label in axes.get_yticklabels()] == ['cat', 'dog']
    with pytest.raises(UserError, match="normalise 'all': choose one of true"):
        confusion_figure(matrix, normalise='all')


def test_a_class_without_images_is_zero():
    image = confusion_figure(np.array([[0, 0], [1, 3]])).axes[0].images[0]
    np.testing.assert_allclose(image.get_array(), [[0, 0], [25, 75]])


def test_many_classes_have_no_numbers_and_few_ticks():
    axes = confusion_figure(np.eye(300, dtype=int), [f'class number {i}' for i in range(300)]).axes[0]
    assert not axes.texts
    cells = axes.images[0]
    assert cells.norm(1.0) > 0.1, 'a confusion of 1% is seen'
    assert len(axes.get_xticks()) <= 50


def test_label_counts_figure():
    figure = label_counts_figure(np.array([[1, 3, 0, 4], [0, 0, 2, 2]]), ['Edema', 'Pleural Effusion'])
    axes = figure.axes[0]
    np.testing.assert_allclose(axes.images[0].get_array(), [[25, 75, 0, 100], [0, 0, 50, 50]])
    assert axes.texts[0].get_text() == '25% (1)'
    assert [label.get_text() for label in axes.get_yticklabels()] == ['Edema', 'Pleural Effusion']


def test_most_confused():
    matrix = np.array([[9, 0, 5], [7, 9, 0], [0, 1, 9]])
    assert most_confused(matrix, 2) == [(1, 0, 7), (0, 2, 5)]
    assert most_confused(matrix, 9) == [(1, 0, 7), (0, 2, 5), (2, 1, 1)]


def test_files_that_are_no_predictions(tmp_path):
    with pytest.raises(UserError, match='do not exist'):
        read_predictions(tmp_path / 'x.npz')
    for name, content, message in [
        ('x.pkl', b'', r'read from \.npz, \.json and \.parquet'),
        ('x.npz', b'nothing', 'is no file of predictions'),
        ('x.json', b'{', 'is no file of predictions'),
        ('y.json', b'{"accuracy/top1": 98.0}', 'predictions'),
        ('z.json', json.dumps([dict(pred_label=1, pred_score=[0.2, 0.8])]).encode(), 'has no true labels'),
        ('z.json', json.dumps([dict(gt_label=-1, pred_label=1, pred_score=[0.2, 0.8])]).encode(), 'has no true labels'),
        ('e.json', b'[]', 'has no predictions'),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=message):
            read_predictions(tmp_path / name)


def test_labels_are_classes_of_the_model(tmp_path):
    """An image without a label is not counted; a label that no class has would be counted as another."""
    rows = [dict(gt_label=label, pred_label=answer, pred_score=[0.2, 0.3, 0.5]) for label, answer in [(-1, 2), (1, 2)]]
    assert read_predictions(dump(tmp_path / 'p.json', rows)).truth.tolist() == [1]
    for wrong in (dict(gt_label=3), dict(pred_label=3), dict(gt_label=[0, 3]), dict(gt_label=[0, -1])):
        with pytest.raises(UserError, match=r'has the label (3|-1), and the model only 3 classes'):
            read_predictions(dump(tmp_path / 'p.json', [rows[1], rows[1] | wrong]))


@pytest.mark.parametrize('suffix', ['npz', 'json'])
def test_labels_are_those_that_were_decided(suffix, tmp_path):
    """A label that is not decided is counted nowhere: it is not one that was never found."""
    samples = [dict(gt_label=0, pred_label=1, pred_score=np.array([0.4, 0.6]), decided_label=0)]
    found = read_predictions(dump(tmp_path / f'single.{suffix}', samples))
    assert found.predicted.tolist() == [0] and found.decided
    score, truth = np.array([0.4, 0.6, 0.2]), np.array([1, 0, 1])
    for decided in ([0], [0, 1]):
        samples = [dict(gt_score=truth, gt_label=[0, 2], pred_label=[1], pred_score=score, decided_label=decided)]
        file = dump(tmp_path / f'several.{suffix}', [samples[0] | dict(undecided_label=[2])] * 3)
        expected = [[3, 0, 0, 0], [0, 0, 0, 3] if decided == [0] else [0, 0, 3, 0], [0, 0, 0, 0]]
        assert label_counts(read_predictions(file)).tolist() == expected
