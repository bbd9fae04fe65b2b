"""The queue of the model: what is counted, a full one, and a model that fails."""

import threading

from serving_helpers import picture, wait_until

from mmdensenet.serving import Predictor


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
    wait_until(lambda: client.get('/health').json()['in_work'] == 2)
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
