"""mmdensenet.serving.metrics: what /metrics counts."""

from collections import Counter

from mmdensenet.serving.metrics import Metrics


def test_nothing_yet():
    found = Metrics().snapshot()
    assert found['requests'] == found['errors'] == 0
    assert found['latency_ms'] == dict(p50=None, p95=None, p99=None)
    assert found['batches'] == dict(count=0, images=0, mean=None, sizes={})


def test_counts():
    metrics = Metrics(responses=Counter({500: 1, 200: 5, 415: 2}), abandoned=3, batches=Counter({8: 1, 1: 3}))
    metrics.seconds.extend(i / 1000 for i in range(101))
    found = metrics.snapshot()
    assert (found['requests'], found['errors'], found['abandoned']) == (11, 3, 3)
    assert list(found['responses']) == ['200', '415', '500']
    assert found['batches'] == dict(count=4, images=11, mean=2.75, sizes={'1': 3, '8': 1})
    assert found['latency_ms'] == dict(p50=50, p95=95, p99=99)


def test_retry_after_is_between_a_second_and_half_a_minute():
    metrics = Metrics()
    assert [metrics.seconds_until(images) for images in (0, 15, 10_000)] == [1, 2, 30]
    metrics.per_image.extend([0.5, 0.5, 60])  # one batch that took long says little
    assert [metrics.seconds_until(images) for images in (1, 7, 1000)] == [1, 4, 30]
