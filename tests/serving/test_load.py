"""Many clients at once, over a real connection."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from conftest import ROOT
from serving_helpers import picture, running, wait_until

from mmdensenet.serving import Predictor

httpx = pytest.importorskip('httpx2', reason='the client of these tests')


def post_all(url: str, contents: list[bytes], retries: int = 0) -> list:
    """The responses to all of them, sent at once; each is tried again after a 503, as it says."""

    async def one(client, content):
        for _ in range(retries + 1):
            response = await client.post('/predict', content=content)
            if response.status_code != 503:
                break
            await asyncio.sleep(float(response.headers['retry-after']) / 10)
        return response

    async def everything():
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits, trust_env=False) as client:
            return await asyncio.gather(*[one(client, content) for content in contents])

    return asyncio.run(everything())


@pytest.mark.slow
def test_a_hundred_at_once_and_none_lost(predictor):
    contents = [picture(seed) for seed in range(100)]
    prepared = [predictor.prepare(content)[1] for content in contents]
    expected = [predictor.predict([one])[0] for one in prepared]
    with running(predictor, topk=4) as (url, _):
        responses = post_all(url, contents)
        health = httpx.get(f'{url}/health', trust_env=False).json()
    assert [response.status_code for response in responses] == [200] * 100
    for response, scores in zip(responses, expected):
        got = {entry['label']: entry['score'] for entry in response.json()['predictions']}
        assert np.allclose([got[label] for label in range(4)], scores, atol=1e-5), 'each gets its own'
    assert health['responses'] == {'200': 100} and health['in_work'] == 0
    assert health['batches']['images'] == 100 and health['batches']['count'] < 60, 'batches were shared'
    assert max(map(int, health['batches']['sizes'])) <= 16


class Slow(Predictor):
    """Each batch takes a while; counts what it computes."""

    seconds = 0.1
    computed = 0

    def predict(self, prepared):
        self.computed += len(prepared)
        time.sleep(self.seconds)
        return super().predict(prepared)


def test_refused_ones_get_through_when_they_come_again(inferencer):
    with running(Slow(inferencer), max_queue=6, max_batch=3) as (url, app):
        responses = post_all(url, [picture(seed) for seed in range(30)], retries=50)
        counts = app.state.service.metrics.responses
    assert {response.status_code for response in responses} == {200}
    assert counts[200] == 30 and counts[503] > 0


def test_a_client_that_left_is_not_computed(inferencer):
    slow = Slow(inferencer)
    slow.seconds = 0.4
    with running(slow, max_batch=1) as (url, app):
        slow.computed = 0
        first = threading.Thread(target=post_all, args=(url, [picture()]))
        first.start()
        service = app.state.service
        wait_until(lambda: slow.computed == 1)
        host, port = url.removeprefix('http://').split(':')
        leaving = [socket.create_connection((host, int(port))) for _ in range(4)]
        body = picture()
        for connection in leaving:
            head = f'POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n'
            connection.sendall(head.encode() + body)
        wait_until(lambda: service.in_work == 5)
        for connection in leaving:
            connection.close()
        wait_until(lambda: service.metrics.abandoned == 4)
        first.join()
        assert service.in_work == 0 and slow.computed == 1
        assert post_all(url, [picture()])[0].status_code == 200


def test_a_slow_sender_gives_up_its_place(inferencer):
    with running(Predictor(inferencer), upload_seconds=0.2) as (url, app):
        host, port = url.removeprefix('http://').split(':')
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.sendall(b'POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nsome')
            assert connection.recv(1000).startswith(b'HTTP/1.1 408 ')
        wait_until(lambda: app.state.service.in_work == 0)


def test_refused_uploads_are_read_so_that_the_answer_arrives(inferencer):
    with running(Predictor(inferencer), max_bytes=100_000) as (url, _):
        responses = post_all(url, [bytes(390_000)] * 5)
    assert [response.status_code for response in responses] == [413] * 5


def arrived(url: str) -> int:
    health = httpx.get(f'{url}/health', trust_env=False, timeout=60).json()
    return health['in_work'] + health['requests']


@pytest.mark.slow
@pytest.mark.skipif(os.name == 'nt', reason='signals are different there')
def test_stopping_finishes_what_is_in_work(model_files, tmp_path):
    config, checkpoint = model_files
    command = [sys.executable, ROOT / 'tools/serve.py', config, '--checkpoint', checkpoint, '--port', '0']
    log = tmp_path / 'log'
    env = {**os.environ, 'OMP_NUM_THREADS': '1', 'TMPDIR': str(tmp_path)}
    with open(log, 'w') as file:
        server = subprocess.Popen([*map(str, command), '--batch-size', '2'], stdout=file, stderr=file, env=env)
    try:
        wait_until(lambda: 'Serving tiny at http://127.0.0.1:' in log.read_text() or server.poll() is not None, 120)
        url = log.read_text().split('Serving tiny at ')[1].split()[0]
        wait_until(lambda: httpx.get(f'{url}/health', trust_env=False, timeout=60).status_code == 200, 60)
        responses = []
        contents = [picture(seed, (2000, 2000)) for seed in range(40)]
        clients = threading.Thread(target=lambda: responses.extend(post_all(url, contents)))
        clients.start()
        wait_until(lambda: arrived(url) >= 40, 60)  # not all in work: where clients get little time, some are answered
        server.send_signal(signal.SIGTERM)
        clients.join(60)
        server.wait(60)
    finally:
        server.kill()
        server.wait()
    assert [response.status_code for response in responses] == [200] * 40
    assert 'Traceback' not in log.read_text() and 'ERROR' not in log.read_text()
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith('torch')] == ['log'], (
        'no files are left'
    )
