"""The page's and the JSON interface's answers, without a network."""

import json

import pytest
from fastapi.testclient import TestClient
from serving_helpers import picture

from mmdensenet.serving import Predictor, Settings, create_app


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
