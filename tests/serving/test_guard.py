"""Other pages and other names get nothing."""

import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from mmdensenet.serving.guard import Guard

LOCAL = Guard(PlainTextResponse('ours'))
OPEN = Guard(PlainTextResponse('ours'), ['station', 'Station.example.org'], any_address=True)


@pytest.mark.parametrize(
    'app, host, status',
    [
        (LOCAL, 'localhost', 200),
        (LOCAL, 'LOCALHOST:8000', 200),
        (LOCAL, '127.0.0.1:8000', 200),
        (LOCAL, '[::1]:8000', 200),
        (LOCAL, '127.8.9.1', 200),
        (LOCAL, 'localhost.', 200),
        (LOCAL, 'evil.example', 403),
        (LOCAL, 'localhost.evil.example', 403),
        (LOCAL, 'localhost@evil.example', 403),
        (LOCAL, '192.168.0.9', 403),
        (LOCAL, 'station', 403),
        (LOCAL, '[::1', 403),
        (LOCAL, '', 403),
        (OPEN, 'station:80', 200),
        (OPEN, 'station.example.org', 200),
        (OPEN, '192.168.0.9:8000', 200),
        (OPEN, 'evil.example', 403),
    ],
)
def test_only_known_names_are_answered(app, host, status):
    response = TestClient(app).get('/', headers={'host': host})
    assert response.status_code == status, response.text
    assert response.headers['x-content-type-options'] == 'nosniff', 'refusals have the headers too'
    if status == 403:
        assert '--allow-host' in response.json()['error']


@pytest.mark.parametrize(
    'origin, status',
    [
        ('http://localhost:8000', 200),
        ('http://localhost:3000', 403),
        ('http://localhost', 403),
        ('https://evil.example', 403),
        ('null', 403),
        ('', 403),
    ],
)
def test_pages_of_other_origins_are_refused(origin, status):
    response = TestClient(LOCAL).post('/', headers={'host': 'localhost:8000', 'origin': origin})
    assert response.status_code == status


def test_two_hosts_are_refused():
    response = TestClient(LOCAL).get('/', headers=[('host', 'localhost'), ('host', 'evil.example')])
    assert response.status_code == 403


def test_the_scheme_and_host_of_a_proxy():
    from mmdensenet.serving.guard import forwarded

    scope = dict(scheme='http', headers=[(b'host', b'127.0.0.1:8000'), (b'x-forwarded-host', b'a.org'), (b'b', b'c')])
    changed = forwarded(scope)
    assert changed['headers'] == [(b'host', b'a.org'), (b'x-forwarded-host', b'a.org'), (b'b', b'c')]
    assert changed['scheme'] == 'http' and scope['headers'][0] == (b'host', b'127.0.0.1:8000')
    assert forwarded(dict(scheme='http', headers=[(b'x-forwarded-proto', b'https')]))['scheme'] == 'https'
    assert forwarded(dict(scheme='http', headers=[(b'x-forwarded-proto', b'gopher')]))['scheme'] == 'http'
