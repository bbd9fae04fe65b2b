"""Predictions, maps of the evidence and sizes of images, as they are served."""

import base64
import io
import json

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image
from serving_helpers import picture

from mmdensenet.apis import Inferencer
from mmdensenet.serving import Predictor
from mmdensenet.serving.images import RefusedRequestError


def decoded(url: str) -> np.ndarray:
    assert url.startswith('data:image/png;base64,')
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(',')[2]))))


def test_a_map_of_the_evidence(open_client, predictor):
    from mmdensenet.analysis.cam import class_activation, overlay

    client = open_client()
    content = picture(3)
    plain = client.post('/predict', content=content).json()
    best = plain['predictions'][0]
    answer = client.post('/predict?cam=top', content=content).json()
    assert answer['predictions'] == plain['predictions']
    assert (answer['cam']['label'], answer['cam']['class']) == (best['label'], best['class'])
    seen = decoded(answer['cam']['input'])
    prepared = predictor.prepare(content)[1]
    assert np.array_equal(seen, prepared['inputs'].permute(1, 2, 0).numpy()[..., ::-1]), 'the crop, as RGB'
    model = predictor.inferencer.model
    inputs = model.data_preprocessor(dict(inputs=prepared['inputs'][None]), False)['inputs']
    overlays = []
    for label in range(4):
        shown = client.post(f'/predict?cam={label}', content=content).json()['cam']
        expected = overlay(seen, class_activation(model, inputs, [label])[0])
        assert shown['label'] == label and np.array_equal(decoded(shown['overlay']), expected)
        overlays.append(expected.tobytes())
    assert len(set(overlays)) > 1
    assert client.post('/predict', content=content).json() == plain, 'the model is as before'


def test_scores_that_are_no_numbers(open_client, inferencer):
    class Damaged(Predictor):
        def predict(self, prepared):
            return [np.full(4, np.nan, np.float32) for _ in prepared]

    response = open_client(Damaged(inferencer)).post('/predict', content=picture())
    assert response.status_code == 500 and 'weights are damaged' in response.json()['error']


def test_images_that_keep_their_size(inferencer, monkeypatch):
    """Without a resize each image keeps its size."""
    config = Config(inferencer.model._config.to_dict())
    steps = config.test_dataloader.dataset.pipeline
    config.test_dataloader.dataset.pipeline = [steps[0], steps[-1]]
    monkeypatch.setattr(inferencer.model, '_config', config)
    predictor = Predictor(Inferencer(inferencer.model), max_input=7000)
    with pytest.raises(RefusedRequestError, match='100 x 80 pixels; the limit is 7,000'):
        predictor.prepare(picture(size=(100, 80)))
    passes = []
    forward = predictor.inferencer.predict
    monkeypatch.setattr(predictor.inferencer, 'predict', lambda batch: passes.append(len(batch)) or forward(batch))
    contents = [picture(0, (64, 64)), picture(1, (96, 64)), picture(2, (64, 64))]
    prepared = [predictor.prepare(content)[1] for content in contents]
    for one, scores in zip(prepared, predictor.predict(prepared)):
        assert np.allclose(predictor.predict([one])[0], scores, atol=1e-6)
    assert passes[:3] == [1, 1, 1], 'two of 64 x 64 are more than 7,000 pixels'
    maps = predictor.activations([(one, 0) for one in prepared])
    assert [activation.shape for activation in maps] == [(64, 64), (64, 96), (64, 64)]


@pytest.mark.parametrize('kind', [pytest.param('onnx', marks=pytest.mark.slow), 'torch-export'])
def test_an_exported_file(open_client, run_tool, model_files, tmp_path, kind):
    from mmdensenet.apis import open_inferencer
    from mmdensenet.apis.export import export_model

    config, checkpoint = model_files
    (tmp_path / 'images').mkdir()
    file = tmp_path / 'images' / '0.jpg'
    file.write_bytes(picture(1))
    exported = tmp_path / ('tiny.onnx' if kind == 'onnx' else 'tiny.pt2')
    export_model(str(config), str(checkpoint), str(exported), kind, images=str(tmp_path / 'images'))
    done = run_tool('predict.py', file, '--model', exported, '--json')
    client = open_client(Predictor(open_inferencer(exported)))
    assert 'exported file' in client.get('/model').json()['no_cam']
    answer = client.post('/predict', content=file.read_bytes()).json()
    assert answer['predictions'] == json.loads(done.out)[0]['predictions']
    plain = open_client().post('/predict', content=file.read_bytes()).json()
    for got, expected in zip(answer['predictions'], plain['predictions']):
        assert got['class'] == expected['class'] and got['score'] == pytest.approx(expected['score'], abs=1e-4)
    refused = client.post('/predict?cam=top', content=file.read_bytes())
    assert refused.status_code == 422 and 'exported file' in refused.json()['error']


def test_an_exported_file_that_does_not_resize(open_client, predictor):
    predictor.size = (32, 48)
    refused = open_client().post('/predict', content=picture())
    assert refused.status_code == 422 and 'takes 48 x 32 only' in refused.json()['error']


def test_a_model_without_maps(open_client, predictor):
    predictor.no_cam = 'No maps of this one.'
    client = open_client()
    assert client.get('/model').json()['no_cam'] == 'No maps of this one.'
    response = client.post('/predict?cam=top', content=picture())
    assert response.status_code == 422 and response.json()['error'] == 'No maps of this one.'
