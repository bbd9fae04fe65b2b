"""What a command says while it imports."""

import io
import threading
import time

import pytest

from mmdensenet_cli.importing import TEXT, Importing


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def shown(monkeypatch):
    """Return what the streams show after imports that take until there is a line, or no time."""

    def show(out, err, says=(True,), patience=0, term='xterm', columns=80, **given) -> tuple[str, str]:
        with monkeypatch.context() as patch:
            patch.setattr('sys.stdout', out)
            patch.setattr('sys.stderr', err)
            patch.setenv('TERM', term)
            patch.setenv('COLUMNS', str(columns))
            importing = Importing(patience=patience, **given)
            for says_it in says:
                before, end = out.getvalue() + err.getvalue(), time.monotonic() + 60
                with importing.shown():
                    while says_it and out.getvalue() + err.getvalue() == before and time.monotonic() < end:
                        time.sleep(0.01)
        return out.getvalue(), err.getvalue()

    return show


@pytest.fixture(autouse=True)
def no_thread_stays():
    threads = threading.active_count()
    yield
    assert threading.active_count() == threads


def test_a_terminal_shows_it_until_the_import_is_done(shown):
    assert shown(io.StringIO(), Terminal()) == ('', f'{TEXT}\r\x1b[K')
    assert shown(Terminal(), io.StringIO()) == (f'{TEXT}\r\x1b[K', '')
    assert shown(Terminal(), Terminal(), (True, True)) == ('', f'{TEXT}\r\x1b[K' * 2)


def test_a_pipe_gets_one_line_where_no_results_are(shown):
    assert shown(io.StringIO(), io.StringIO(), (True, False)) == (f'{TEXT}\n', '')
    assert shown(io.StringIO(), io.StringIO(), prints_results=True) == ('', f'{TEXT}\n')


def test_the_times_of_all_imports_are_added(monkeypatch):
    seconds = iter([0, 50, 50, 110])
    importing = Importing(patience=100)
    with monkeypatch.context() as patch:
        patch.setattr('mmdensenet_cli.importing.time.monotonic', lambda: next(seconds))
        for left in (50, -10):
            with importing.shown():
                pass
            assert importing.left == left


def test_silence_of_a_short_import_and_other_processes(shown, monkeypatch):
    assert shown(Terminal(), Terminal(), (False,), patience=60) == ('', '')
    assert shown(Terminal(), Terminal(), (False,), is_done=True) == ('', '')
    monkeypatch.setenv('RANK', '1')
    assert shown(Terminal(), Terminal(), (False,)) == ('', '')


def test_terminals_that_cannot_erase_and_narrow_ones(shown):
    assert shown(io.StringIO(), Terminal(), (True, False), term='dumb') == ('', f'{TEXT}\n')
    assert shown(io.StringIO(), Terminal(), columns=40) == ('', f'{TEXT[:39]}\r\x1b[K')


def test_a_reader_that_has_ended_is_the_commands_to_tell(monkeypatch):
    asked = threading.Event()

    class Closed(io.StringIO):
        def write(self, text):
            asked.set()
            raise BrokenPipeError

    monkeypatch.setattr('sys.stdout', Closed())
    monkeypatch.setattr('sys.stderr', io.StringIO())
    with Importing(patience=0).shown():
        assert asked.wait(60)


def test_an_error_passes_through(monkeypatch):
    monkeypatch.setattr('sys.stderr', Terminal())
    with pytest.raises(ImportError), Importing().shown():
        raise ImportError
