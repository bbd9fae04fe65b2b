"""What a terminal shows while a command imports."""

import io
import threading
import time

import pytest

from mmdensenet_cli.importing import TEXT, importing


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(monkeypatch, stream: io.StringIO, seconds: float, patience: float, term='xterm', columns=80) -> str:
    with monkeypatch.context() as patch:
        patch.setattr('sys.stderr', stream)
        patch.setenv('TERM', term)
        patch.setenv('COLUMNS', str(columns))
        with importing(patience):
            time.sleep(seconds)
    return stream.getvalue()


def test_a_long_import_is_said_and_no_thread_stays(monkeypatch):
    threads = threading.active_count()
    assert shown(monkeypatch, Terminal(), 0.2, 0.01) == f'{TEXT}\r\x1b[K'
    assert threading.active_count() == threads


def test_silence_of_a_short_one_of_a_pipe_and_of_other_processes(monkeypatch):
    assert shown(monkeypatch, Terminal(), 0, 60) == ''
    assert shown(monkeypatch, io.StringIO(), 0.1, 0) == ''
    monkeypatch.setenv('RANK', '1')
    assert shown(monkeypatch, Terminal(), 0.1, 0) == ''


def test_terminals_that_cannot_erase_and_narrow_ones(monkeypatch):
    assert shown(monkeypatch, Terminal(), 0.2, 0.01, term='dumb') == f'{TEXT}\n'
    assert shown(monkeypatch, Terminal(), 0.2, 0.01, columns=40) == f'{TEXT[:39]}\r\x1b[K'


def test_an_error_passes_through(monkeypatch):
    monkeypatch.setattr('sys.stderr', Terminal())
    threads = threading.active_count()
    with pytest.raises(ImportError), importing():
        raise ImportError
    assert threading.active_count() == threads
