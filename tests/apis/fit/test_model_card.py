"""The model card: figures, the front matter of hubs, and what only the author knows."""

import math

import pytest
import yaml

from mmdensenet.apis.fit.model_card import AUTHOR, Figure, figures_of, write_model_card
from mmdensenet.results.bootstrap import Estimate
from mmdensenet.results.class_metrics import Metric
from mmdensenet.results.judgement import Judgement

NAN = math.nan


def test_shares_are_from_0_to_1_whatever_they_are_from():
    overall = {'accuracy': Estimate(0.5, 0.25, 0.75), 'macro AUROC': Estimate(NAN), 'set size': Estimate(1.5)}
    judgement = Judgement(False, 4, None, 0.95, overall, [])
    assert figures_of([], judgement) == [Figure('accuracy', 0.5, 0.25, 0.75), Figure('set size', 1.5, None, None)]
    metrics = [Metric('top-1', Estimate(50.0, 25.0, 75.0), '%', ''), Metric('kappa', Estimate(0.5, NAN, NAN), '', '')]
    assert figures_of(metrics, None) == [Figure('top-1', 0.5, 0.25, 0.75), Figure('kappa', 0.5, None, None)]


@pytest.mark.parametrize('onnx', [True, False])
def test_the_card(tmp_path, onnx):
    file = tmp_path / 'model_card.md'
    figures = [Figure('macro AUROC', 0.91234567, 0.9, 0.92), Figure('set size', 1.5, None, None)]
    write_model_card(file, dict(model='DenseNet "BC"', limitations='Few images.'), figures, 7, None, onnx, 'a: "b"')
    _, front, body = file.read_text(encoding='utf-8').split('---\n', 2)
    front = yaml.safe_load(front)
    [entry] = front['model-index']
    assert entry['name'] == 'a: "b"' and entry['results'][0]['dataset']['name'] == 'test part, 7 images'
    assert entry['results'][0]['metrics'] == [
        {'type': 'macro_auroc', 'value': 0.9123, 'name': 'macro AUROC'},
        {'type': 'set_size', 'value': 1.5, 'name': 'set size'},
    ]
    assert '| macro AUROC | 0.9123 | 0.9000 to 0.9200 |' in body and '| set size | 1.5000 |  |' in body
    assert 'DenseNet "BC"' in body and 'Few images.' in body and body.count(AUTHOR) == 3 and 'None' not in body
    model = 'model.onnx' if onnx else 'CONFIG --checkpoint CHECKPOINT'
    assert f'mmdensenet predict IMAGES --model {model}\n' in body
