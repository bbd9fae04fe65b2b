"""What a command shows of the log and of what takes long, and that a library's caller sees mmengine's behaviour."""

import io
import logging
import time
import warnings

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


def test_what_takes_long_is_a_bar_on_a_terminal(monkeypatch):
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Screen()
    monkeypatch.setenv('TERM', 'xterm')
    monkeypatch.setattr('sys.stdout', screen)
    with terminal.command(), terminal.waiting('outer', 3) as done:
        done(3)
        time.sleep(0.3)  # it is drawn ten times a second
        assert list(terminal.each('ab', 'inner')) == ['a', 'b'], 'one bar at a time'
    monkeypatch.undo()
    shown = screen.getvalue()
    assert 'outer' in shown and '3/3' in shown and 'inner' not in shown


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
