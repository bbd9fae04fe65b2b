"""What is shown while a command imports."""

import io
import threading
import time

import pytest

from mmdensenet_cli.importing import TEXT, _said, importing


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ('stream', 'shown'), [(io.StringIO(), f'{TEXT}\n'), (Terminal(), f'{TEXT}\r\x1b[K')], ids=['file', 'terminal']
)
def test_a_long_import_is_said_and_no_thread_stays(stream, shown):
    _said.clear()
    threads = threading.active_count()
    for _ in range(2):
        with importing(stream, patience=0.01):
            time.sleep(0.2)
    _said.clear()
    assert stream.getvalue() == shown and threading.active_count() == threads


def test_silence_of_a_short_one_of_other_processes_and_after_an_error(monkeypatch):
    stream = io.StringIO()
    with pytest.raises(ImportError), importing(stream):
        raise ImportError
    monkeypatch.setenv('RANK', '1')
    with importing(stream, patience=0):
        time.sleep(0.1)
    assert stream.getvalue() == ''
