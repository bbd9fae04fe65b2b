"""The page's and the JSON interface's answers, without a network."""

import base64
import io
import json
import threading
import time

import numpy as np
import pytest
from fastapi.testclient import TestClient
from mmengine.config import Config
from PIL import Image
from serving_helpers import picture

from mmdensenet.apis import Inferencer
from mmdensenet.serving import Predictor, Settings, create_app
from mmdensenet.serving.images import RefusedRequestError


@pytest.fixture
def open_client(predictor):
    """``open_client(predictor, **settings)`` is a client of a server of its own."""
    opened = []

    def start(the_predictor=predictor, **settings):
        app = create_app(the_predictor, Settings(**settings))
        client = TestClient(app, 'http://127.0.0.1:8000', raise_server_exceptions=False)
        opened.append(client.__enter__())
        return client

    yield start
    for client in opened:
        client.__exit__(None, None, None)


def decoded(url: str) -> np.ndarray:
    assert url.startswith('data:image/png;base64,')
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(',')[2]))))


def test_the_same_as_the_tool(open_client, run_tool, model_files, tmp_path):
    config, checkpoint = model_files
    files = [tmp_path / f'{i}.jpg' for i in range(3)]
    for i, file in enumerate(files):
        file.write_bytes(picture(i, size=(80 + 7 * i, 100)))
    options = ['--model', config, '--checkpoint', checkpoint, '--json', '--topk', '3', '--batch-size', '1']
    done = run_tool('predict.py', *files, *options)
    client = open_client()
    for file, expected in zip(files, json.loads(done.out)):
        answer = client.post('/predict?topk=3', content=file.read_bytes()).json()
        assert answer['predictions'] == expected['predictions'], 'scores are equal to the last bit'
        assert (answer['width'], answer['height']) == (80 + 7 * files.index(file), 100)
    assert len(client.post('/predict', content=files[0].read_bytes()).json()['predictions']) == 4, 'all there are'


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


@pytest.mark.parametrize(
    'query, content, headers, status, says',
    [
        ('', b'', {}, 400, 'empty'),
        ('', b'text', {}, 415, 'no image'),
        ('', picture()[:400], {}, 422, 'cut short or damaged'),
        ('', picture(size=(1100, 1000)), {}, 413, '1100 x 1000 pixels; the limit is 1,000,000'),
        ('', bytes(60_000), {}, 413, 'larger than 50,000 bytes'),
        ('', picture(), {'content-type': 'multipart/form-data; boundary=x'}, 415, '--data-binary @FILE'),
        ('?topk=0', picture(), {}, 422, 'topk'),
        ('?topk=many', picture(), {}, 422, 'topk'),
        ('?cam=4', picture(), {}, 422, 'classes are 0 to 3'),
        ('?cam=-1', picture(), {}, 422, "give 'top' or the number"),
        ('?cam=9999999999', picture(), {}, 422, "give 'top' or the number"),
    ],
)
def test_refusals_have_a_status_and_a_message(open_client, inferencer, query, content, headers, status, says):
    client = open_client(Predictor(inferencer, max_pixels=1_000_000), max_bytes=50_000)
    response = client.post(f'/predict{query}', content=content, headers=headers)
    assert response.status_code == status, response.text
    assert says in response.json()['error'] and 'memory:' not in response.text
    assert client.post('/predict', content=picture()).status_code == 200, 'it goes on'
    health = client.get('/health').json()
    assert health['errors'] == 1 and health['responses'] == {'200': 1, str(status): 1}


def test_a_body_without_a_length_is_limited_too(open_client):
    response = open_client(max_bytes=1000).post('/predict', content=(bytes(100) for _ in range(50)))
    assert response.request.headers['transfer-encoding'] == 'chunked'
    assert response.status_code == 413


def test_the_page(open_client):
    client = open_client()
    page = client.get('/')
    assert page.headers['content-type'].startswith('text/html')
    policy = page.headers['content-security-policy']
    assert "default-src 'none'" in policy and 'unsafe' not in policy
    everything = page.text
    for name, kind in (('page.css', 'text/css'), ('page.js', 'text/javascript')):
        part = client.get(f'/static/{name}')
        assert part.headers['content-type'].startswith(kind)
        everything += part.text
    for reference in ('http://', 'https://', 'src="//', 'innerHTML', 'insertAdjacentHTML', 'document.write'):
        assert reference not in everything
    for wrong in ('app.py', '..%2Fapp.py', '__init__.py'):
        response = client.get(f'/static/{wrong}')
        assert response.status_code == 404 and 'error' in response.json()
    for path in ('/docs', '/redoc'):
        assert client.get(path).status_code == 404, "FastAPI's pages load scripts from elsewhere"
    assert '/predict' in client.get('/openapi.json').json()['paths']


def test_other_names_and_origins(open_client):
    client = open_client()
    assert client.get('/', headers={'host': 'evil.example'}).status_code == 403
    refused = client.post('/predict', content=picture(), headers={'origin': 'http://evil.example'})
    assert refused.status_code == 403 and refused.headers['x-content-type-options'] == 'nosniff'
    assert client.post('/predict', content=picture(), headers={'origin': 'http://127.0.0.1:8000'}).status_code == 200


def test_what_is_served_and_how_it_goes(open_client):
    client = open_client(name='tiny', max_bytes=70_000)
    about = client.get('/model').json()
    assert about['name'] == 'tiny' and about['classes'] == 4 and about['max_bytes'] == 70_000
    assert about['cam'] is True and about['no_cam'] is None
    before = client.get('/health').json()
    assert before['status'] == 'ok' and before['requests'] == 0 and before['latency_ms']['p50'] is None
    for _ in range(3):
        client.post('/predict', content=picture())
    after = client.get('/health').json()
    assert after['requests'] == 3 and after['errors'] == 0 and after['in_work'] == 0
    assert after['batches'] == dict(count=3, images=3, mean=1.0, sizes={'1': 3})
    assert 0 < after['latency_ms']['p50'] <= after['latency_ms']['p95'] <= after['latency_ms']['p99']


class Slow(Predictor):
    """Waits in the model's thread until its gate is opened."""

    def __init__(self, inferencer):
        super().__init__(inferencer)
        self.gate = threading.Event()

    def predict(self, prepared):
        self.gate.wait(20)
        return super().predict(prepared)

    def warm_up(self):
        pass


def test_a_full_queue_says_when_to_come_again(open_client, inferencer):
    slow = Slow(inferencer)
    client = open_client(slow, max_queue=2)
    statuses = []
    threads = [
        threading.Thread(target=lambda: statuses.append(client.post('/predict', content=picture()).status_code))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 10
    while client.get('/health').json()['in_work'] < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    refused = client.post('/predict', content=picture())
    slow.gate.set()
    for thread in threads:
        thread.join()
    assert refused.status_code == 503 and 1 <= int(refused.headers['retry-after']) <= 30
    assert 'try again' in refused.json()['error']
    assert statuses == [200, 200]
    assert client.post('/predict', content=picture()).status_code == 200


def test_a_failing_model_is_a_500_and_not_the_end(open_client, inferencer, caplog):
    class Failing(Predictor):
        fails = False

        def predict(self, prepared):
            if self.fails:
                raise RuntimeError('inner detail')
            return super().predict(prepared)

    failing = Failing(inferencer)
    client = open_client(failing)
    failing.fails = True
    response = client.post('/predict', content=picture())
    assert response.status_code == 500 and 'inner detail' not in response.text
    assert 'inner detail' in caplog.text
    failing.fails = False
    assert client.post('/predict', content=picture()).status_code == 200


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


@pytest.mark.parametrize('path', ['/', '/health', '/model', '/static/page.js', '/static/page.css'])
def test_head_is_get_without_the_body(open_client, path):
    client = open_client()
    head, get = client.head(path), client.get(path)
    assert head.status_code == get.status_code == 200
    assert head.headers['content-type'] == get.headers['content-type']
    assert client.head('/predict').status_code == 405


@pytest.mark.parametrize('prefix', ['', '/densenet', '/a/b'])
@pytest.mark.parametrize('strips', [True, False])
def test_below_a_prefix_of_a_proxy(open_client, prefix, strips):
    """The page's links stay below it, whether the proxy takes it away or not."""
    client = open_client(root_path=prefix)
    at = '' if strips else prefix
    page = client.get(f'{at}/')
    assert page.status_code == 200 and '{root}' not in page.text
    for link in (f'{prefix}/static/page.css', f'{prefix}/static/page.js', f'{prefix}/health'):
        assert f'"{link}"' in page.text
        assert client.get(at + link.removeprefix(prefix)).status_code == 200
    assert client.post(f'{at}/predict', content=picture()).status_code == 200
    servers = client.get(f'{at}/openapi.json').json().get('servers')
    assert servers == ([{'url': prefix}] if prefix else None)
    script = client.get(f'{at}/static/page.js').text
    assert "fetch('/" not in script and "ask(job, '/" not in script and '`/' not in script


def test_what_a_trusted_proxy_forwards(predictor):
    settings = Settings(allowed_hosts=('models.example.org',), proxies=('10.0.0.0/8',))
    sent = {'x-forwarded-host': 'models.example.org', 'x-forwarded-proto': 'https'}
    origin = {'origin': 'https://models.example.org'}
    with TestClient(create_app(predictor, settings), 'http://127.0.0.1:8000', client=('10.1.2.3', 5)) as client:
        assert client.post('/predict', content=picture(), headers={**sent, **origin}).status_code == 200
        assert client.post('/predict', content=picture(), headers=origin).status_code == 403, 'no host is forwarded'
        other = {**sent, 'x-forwarded-host': 'evil.example.org'}
        assert client.get('/health', headers=other).status_code == 403, 'not one of the names'
        chain = {**sent, 'x-forwarded-host': 'evil.example.org, models.example.org'}
        assert client.get('/health', headers=chain).status_code == 200, 'what the trusted one heard'
    with TestClient(create_app(predictor, settings), 'http://127.0.0.1:8000', client=('192.168.0.1', 5)) as client:
        assert client.post('/predict', content=picture(), headers={**sent, **origin}).status_code == 403, 'not trusted'
