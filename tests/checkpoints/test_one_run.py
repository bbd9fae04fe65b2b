"""Two runs in one work directory: the second is refused while the first trains, and only then."""

import errno
import os
import signal

import pytest
from forks import fork, wait

from mmdensenet.checkpoints import one_run
from mmdensenet.checkpoints.one_run import FILE, alone_in
from mmdensenet.errors import UserError


@pytest.fixture
def another(tmp_path):
    """Another process that trains in tmp_path / 'w', and the pipe that it waits for."""
    begun, end = os.pipe(), os.pipe()

    def run():
        with alone_in(tmp_path / 'w'):
            os.write(begun[1], b'x')
            os.read(end[0], 1)

    process = fork(run, tmp_path / 'out')
    os.read(begun[0], 1)
    yield process, end[1]
    for number in (*begun, *end):
        os.close(number)


def test_the_second_run_is_refused_until_the_first_has_ended(another, tmp_path):
    process, end = another
    with (
        pytest.raises(UserError, match=rf'w: another run trains there \(process {process}\)'),
        alone_in(tmp_path / 'w'),
    ):
        raise AssertionError('two runs')
    with alone_in(tmp_path / 'another'):
        pass
    os.write(end, b'x')
    assert wait([process]) == [0]
    with alone_in(tmp_path / 'w'):
        assert (tmp_path / 'w' / FILE).read_text() == str(os.getpid())
    assert not (tmp_path / 'w').exists()


def test_a_killed_run_is_no_run(another, tmp_path):
    process, _ = another
    os.kill(process, signal.SIGKILL)
    assert wait([process]) == [-signal.SIGKILL]
    with alone_in(tmp_path / 'w'):
        pass
    assert not os.listdir(tmp_path / 'w')


def test_an_error_ends_the_run_and_leaves_the_folder_as_it_was(tmp_path):
    with pytest.raises(KeyError), alone_in(tmp_path):
        raise KeyError
    with pytest.raises(KeyError), alone_in(tmp_path / 'w'):
        raise KeyError
    assert not os.listdir(tmp_path)
    with alone_in(tmp_path / 'w'):
        (tmp_path / 'w' / 'epoch_1.pth').touch()
    assert os.listdir(tmp_path / 'w') == ['epoch_1.pth']


def test_where_files_cannot_be_locked(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr(one_run.fcntl, 'lockf', no_locks)
    with alone_in(tmp_path):
        pass
    (tmp_path / 'file').touch()
    with alone_in(tmp_path / 'file'):
        pass
    monkeypatch.setattr(one_run, 'fcntl', None)
    with alone_in(tmp_path / 'w'):
        assert not (tmp_path / 'w').exists()
