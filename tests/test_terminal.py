"""What a command shows of the log and of what takes long, and that a library's caller sees mmengine's behaviour."""

import errno
import io
import logging
import time
import warnings
from types import SimpleNamespace

import pytest
from mmengine.logging import MMLogger, print_log

from mmdensenet import terminal


@pytest.fixture
def logger(tmp_path):
    return lambda: MMLogger.get_instance('here', log_file=str(tmp_path / 'a.log'))


def speak(logger: MMLogger) -> None:
    logger.info('of mmengine')
    logger.info('of ours', extra=terminal.SHOWN)
    logger.info('resumed epoch: 1, iter: 3')
    logger.warning('look at this')
    logger.warning('The prefix is not set in metric class Accuracy.')
    print_log('printed without a logger')


def test_a_quiet_command_shows_what_a_user_needs(logger, tmp_path, capsys):
    with terminal.command():
        speak(logger())
    out, err = capsys.readouterr()
    assert (out, err) == ('of ours\nresumed epoch: 1, iter: 3\nwarning: look at this\n', '')
    log = (tmp_path / 'a.log').read_text()
    texts = ['of mmengine', 'of ours', 'resumed epoch: 1, iter: 3', 'look at this', 'The prefix is not set']
    assert [text in log for text in texts] == [True] * 5
    assert log.count(' - mmengine - INFO - ') == 3, "in mmengine's format"


def test_a_log_that_cannot_be_written_is_said_once(logger, capsys, tmp_path):
    def full(text):
        raise OSError(errno.ENOSPC, 'full')

    with terminal.command():
        of_run = logger()
        [log] = [handler for handler in of_run.handlers if isinstance(handler, logging.FileHandler)]
        log.stream.close()
        log.stream = SimpleNamespace(write=full, flush=lambda: None, close=lambda: None)
        speak(of_run)
    out, err = capsys.readouterr()
    assert out.count(f'warning: {tmp_path}/a.log lacks lines: full') == 1 and 'of ours\n' in out and err == ''
    assert 'handleError' not in vars(log)


def test_names_in_no_encoding_are_in_the_log(logger, capsys, tmp_path):
    with terminal.command():
        logger().info('a\udce9.jpg')
    assert capsys.readouterr().err == '' and r'a\udce9.jpg' in (tmp_path / 'a.log').read_text()


@pytest.mark.parametrize('verbose', [True, None])
def test_all_lines_of_a_verbose_command_and_of_the_library(verbose, logger, capsys):
    with terminal.command(verbose) if verbose else warnings.catch_warnings():
        speak(logger())
    out = capsys.readouterr().out
    assert out.count(' - INFO - ') == 3 and out.count('WARNING') == 2 and 'printed without a logger' in out


def test_loggers_are_as_before_after_a_command(logger, capsys):
    before = MMLogger.get_instance('before')
    handlers, make = list(before.handlers), MMLogger.__init__
    with pytest.raises(ZeroDivisionError), terminal.command():
        during = logger()
        before.info('hidden')
        raise ZeroDivisionError
    assert before.handlers == handlers and MMLogger.__init__ is make and not terminal.is_quiet()
    assert [type(handler) for handler in during.handlers] == [logging.StreamHandler, logging.FileHandler]
    during.info('seen')
    print_log('printed')
    out = capsys.readouterr().out
    assert 'seen' in out and 'printed' in out and 'hidden' not in out


def test_only_the_first_process_speaks(monkeypatch, capsys):
    monkeypatch.setenv('RANK', '1')
    with terminal.command(), terminal.waiting('long') as done:
        terminal.say('text')
        done(1)
    assert capsys.readouterr().out == ''


def test_what_takes_long_is_a_line_without_a_terminal(capsys):
    assert list(terminal.each('abc', 'counting letters')) == ['a', 'b', 'c']
    assert capsys.readouterr().out == '', 'nothing in a library'
    with terminal.command():
        assert list(terminal.each('abc', 'counting letters')) == ['a', 'b', 'c']
    assert capsys.readouterr().out == 'counting letters ...\n'


def screen_of(monkeypatch, stream: str) -> io.StringIO:
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Screen()
    monkeypatch.setenv('TERM', 'xterm')
    monkeypatch.setattr(stream, screen)
    return screen


def test_what_takes_long_is_a_bar_on_a_terminal(monkeypatch):
    screen = screen_of(monkeypatch, 'sys.stdout')
    with terminal.command(), terminal.waiting('outer', 3) as done:
        done(3)
        time.sleep(0.3)  # it is drawn ten times a second
        assert list(terminal.each('ab', 'inner')) == ['a', 'b'], 'one bar at a time'
    monkeypatch.undo()
    shown = screen.getvalue()
    assert 'outer' in shown and '3/3' in shown and 'inner' not in shown


def test_work_that_tells_how_far_it_is(monkeypatch, capsys):
    with terminal.counting('reading') as show:
        for done in range(1, 2001):
            show(done, 2000)
        monkeypatch.setattr(terminal, 'SILENCE', -1)
        show(2000, 2000)
    assert capsys.readouterr() == ('', 'reading 2,000 images ...\n2,000 of 2,000 images\n')


def test_its_bar_goes_when_all_is_done(monkeypatch):
    screen = screen_of(monkeypatch, 'sys.stderr')
    with terminal.counting('reading') as show:
        show(1, 3)
        time.sleep(0.3)
        show(3, 3)
        length = len(screen.getvalue())
        time.sleep(0.3)
        assert len(screen.getvalue()) == length, 'nothing is drawn any more'
    monkeypatch.setenv('TERM', 'dumb')
    assert not terminal.is_screen(screen), 'it cannot move its cursor'
    monkeypatch.undo()
    assert 'reading images' in screen.getvalue() and '1/3' in screen.getvalue()


def test_warnings_about_what_is_deprecated_elsewhere(monkeypatch):
    def warned(module: str, category: type[Warning]) -> bool:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            with terminal.command():
                warnings.warn_explicit('old', category, 'file.py', 1, module=module)
        return bool(caught)

    assert not warned('torch.jit._script', DeprecationWarning) and not warned('matplotlib', FutureWarning)
    assert warned('torch.cuda', UserWarning) and warned('my_project', DeprecationWarning)


def test_short_paths(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert terminal.short_path(str(tmp_path / 'a/b.py')) == 'a/b.py'
    assert terminal.short_path('/x/y.py') == '/x/y.py' and terminal.short_path(None) is None
    assert terminal.short_path('/env/mmdensenet/.mim/configs/a.py') == 'mmdensenet::a'
