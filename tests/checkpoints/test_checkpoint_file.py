"""Checkpoint files: whole or not at all, with a checksum, and what happens on a full disk."""

import errno
import hashlib
import io
import os
import zipfile

import pytest
import torch
from mmengine.runner.checkpoint import save_checkpoint

from mmdensenet.checkpoints import checkpoint_file
from mmdensenet.checkpoints.checkpoint_file import Written, inspect_file, remove_leftovers, what_is_wrong, write_whole
from mmdensenet.errors import UserError


def content(value=1.0, size=1000):
    return dict(state_dict=dict(a=torch.full((size,), value)), optimizer=dict(state={}))


def save(folder, name, value=1.0):
    save_checkpoint(content(value), str(folder / name))
    return folder / name


@pytest.mark.parametrize('size', [0, 1, 1000, 300_000])
def test_plain_torch_reads_it_and_its_checksum_holds(tmp_path, size):
    file = tmp_path / 'a.pth'
    write_whole(content(2.0, size), file, resumable=True)
    for mmap in (False, True):
        assert torch.equal(torch.load(file, weights_only=True, mmap=mmap)['state_dict']['a'], torch.full((size,), 2.0))
    assert zipfile.ZipFile(file).testzip() is None
    assert what_is_wrong(file) is None
    assert inspect_file(file).resumable
    assert os.listdir(tmp_path) == ['a.pth']


@pytest.mark.parametrize('run', [None, '0123456789abcdef', 'no id'])
def test_one_changed_or_missing_byte_is_found(tmp_path, run):
    file = tmp_path / 'epoch_1.pth'
    write_whole(content(), file, resumable=True, run=run, time_ns=1234)
    good = file.read_bytes()
    known = hashlib.sha256(good[:-64]).hexdigest(), None if run == 'no id' else run
    assert inspect_file(file) == Written(file, True, 1234, *known)
    for position in [
        0,
        4,
        100,
        len(good) // 2,
        len(good) - 400,
        len(good) - 150,
        len(good) - 120,
        len(good) - 110,
        len(good) - 70,
        -1,
    ]:
        bad = bytearray(good)
        bad[position] ^= 1
        file.write_bytes(bad)
        assert what_is_wrong(file), position
    for size in (0, 1, 50, len(good) // 2, len(good) - 64, len(good) - 1):
        file.write_bytes(good[:size])
        assert what_is_wrong(file), size
    file.write_bytes(good)
    assert what_is_wrong(file) is None


def test_torch_s_own_files_are_checked_too(tmp_path):
    file = tmp_path / 'theirs.pth'
    torch.save(content(), file)
    assert what_is_wrong(file) is None and inspect_file(file) == Written(file, True, file.stat().st_mtime_ns, None)
    assert what_is_wrong(tmp_path / 'none.pth') == 'No such file or directory'
    data = bytearray(file.read_bytes())
    data[data.index(torch.ones(4).numpy().tobytes()) + 40] ^= 1
    file.write_bytes(data)
    assert 'damaged' in what_is_wrong(file)


def test_a_file_may_come_in_any_pieces():
    file = io.BytesIO()
    torch.save(content(), file)
    whole, made = file.getvalue(), set()
    for size in (1, 21, 22, 23, 1000, len(whole)):
        sink = checkpoint_file._Sink()
        sink.file = io.BytesIO()
        for start in range(0, len(whole), size):
            sink.write(whole[start : start + size])
        sink.finish(True, None, 1234)
        made.add(sink.file.getvalue())
        assert sink.size == len(whole)
    assert len(made) == 1 and made.pop().startswith(whole[:-2])


def test_order_of_the_steps(tmp_path, monkeypatch):
    """Written beside, flushed, renamed, folder flushed: what power loss can show is the old file or the new one."""
    save(tmp_path, 'c.pth', 1.0)
    steps = []
    fsync, replace = os.fsync, os.replace

    def spy_fsync(handle):
        folder = os.fstat(handle).st_mode & 0o040000
        steps.append('flush folder' if folder else f'flush {os.fstat(handle).st_size}')
        fsync(handle)

    def spy_replace(source, target):
        steps.append(f'rename {os.path.getsize(source)}')
        assert torch.load(target, weights_only=True)['state_dict']['a'][0] == 1
        replace(source, target)

    monkeypatch.setattr(os, 'fsync', spy_fsync)
    monkeypatch.setattr(os, 'replace', spy_replace)
    save(tmp_path, 'c.pth', 2.0)
    size = (tmp_path / 'c.pth').stat().st_size
    assert steps == [f'flush {size}', f'rename {size}', 'flush folder']


@pytest.mark.parametrize('after', [0, 1, 5])
def test_full_disk(tmp_path, monkeypatch, after):
    file = save(tmp_path, 'c.pth', 1.0)
    size = file.stat().st_size
    put = checkpoint_file._Sink._put
    calls = []

    class Full:
        def __init__(self, file):
            self.file = file

        def write(self, data):
            calls.append(len(data))
            if len(calls) > after:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return self.file.write(data)

        def flush(self):
            self.file.flush()

    def put_on_full(self, data):
        if self.file is not None and not isinstance(self.file, Full):
            self.file = Full(self.file)
        put(self, data)

    monkeypatch.setattr(checkpoint_file._Sink, '_put', put_on_full)
    with pytest.raises(UserError, match=rf'c\.pth: the disk is full: {size:,} bytes are needed, [\d,]+ are free'):
        save(tmp_path, 'c.pth', 2.0)
    assert os.listdir(tmp_path) == ['c.pth']
    assert what_is_wrong(file) is None
    assert torch.load(file, weights_only=True)['state_dict']['a'][0] == 1


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='/dev/full is Linux')
def test_a_device_that_is_really_full(tmp_path, monkeypatch):
    from pathlib import Path

    opened = Path.open
    monkeypatch.setattr(
        Path, 'open', lambda self, mode='r': opened(Path('/dev/full') if self.suffix == '.tmp' else self, mode)
    )
    with pytest.raises(UserError, match=r'new\.pth: the disk is full: [\d,]+ bytes are needed'):
        write_whole(content(size=100_000), tmp_path / 'new.pth')
    assert os.listdir(tmp_path) == []


def test_folder_that_cannot_be_written_to(tmp_path, monkeypatch):
    """The system's answer is made here: root may write anywhere."""
    from pathlib import Path

    file = save(tmp_path, 'c.pth', 1.0)
    size = file.stat().st_size

    def refuse(self, *_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))

    monkeypatch.setattr(Path, 'open', refuse)
    with pytest.raises(UserError, match=rf'c\.pth: Read-only file system \({size:,} bytes are needed\)'):
        save(tmp_path, 'c.pth', 2.0)
    monkeypatch.undo()
    assert torch.load(file, weights_only=True)['state_dict']['a'][0] == 1


def test_folder_that_is_a_file(tmp_path):
    (tmp_path / 'file').touch()
    for resumable, then in ((True, 'resume the run; the checkpoints'), (False, 'run the command again')):
        with pytest.raises(UserError, match=rf'cannot write .*c\.pth: (Not a directory|File exists).*, then {then}'):
            write_whole(content(), tmp_path / 'file' / 'c.pth', resumable=resumable)


def test_leftovers_of_dead_processes_are_removed(tmp_path):
    dead = os.fork()
    if dead == 0:
        os._exit(0)
    os.waitpid(dead, 0)
    # a process of an earlier start of the machine had the number of this one
    left = [f'.epoch_1.pth.{dead}.tmp', f'.epoch_3.pth.{os.getpid()}.tmp', f'.run.json.{dead}.tmp']
    for name in (*left, f'.epoch_2.pth.{os.getppid()}.tmp', 'epoch_1.pth', '.mine.tmp', f'.mine.{dead}.tmp'):
        (tmp_path / name).touch()
    assert sorted(remove_leftovers(tmp_path)) == sorted(left)
    assert len(os.listdir(tmp_path)) == 4
