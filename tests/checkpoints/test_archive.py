"""No checkpoint runs code, or needs time or memory out of proportion to its size."""

import os
import resource
import sys
import time
from collections import OrderedDict

import pytest
import torch
from forks import fork, wait
from hostile import REFUSED

from mmdensenet.checkpoints.checkpoint import load_from_file
from mmdensenet.errors import UserError

SECONDS, BYTES = 5, 256 << 20


@pytest.mark.skipif(sys.platform != 'linux', reason='memory is limited as Linux has it')
@pytest.mark.parametrize('name', REFUSED)
def test_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('TMPDIR', str(tmp_path))
    (tmp_path / 'hostile.pth').write_bytes(REFUSED[name]())

    def load():
        with open('/proc/self/statm') as file:
            taken = int(file.read().split()[0]) * os.sysconf('SC_PAGE_SIZE')
        resource.setrlimit(resource.RLIMIT_AS, (taken + BYTES, taken + BYTES))
        start = time.process_time()
        try:
            loaded = load_from_file('hostile.pth', map_location='cpu')
        except UserError as error:
            message = str(error)
        else:
            raise AssertionError(f'loaded {type(loaded)}')
        assert 'hostile.pth' in message and len(message) < 500, message
        assert time.process_time() - start < SECONDS

    (tmp_path / 'x').mkdir()
    assert wait([fork(load, tmp_path / 'x/out')]) == [0], (tmp_path / 'x/out').read_text()
    assert sorted(os.listdir(tmp_path)) == ['hostile.pth', 'x'], 'nothing ran, nothing was unpacked'


def test_the_files_are_hostile(tmp_path, monkeypatch):
    """Without the reader they run code: the refusals above are not for broken files."""
    import pickle
    import zipfile

    monkeypatch.chdir(tmp_path)
    for name in (
        'reduce',
        'eval',
        'exec',
        'stack global',
        'instance',
        'persistent id',
        'nested archive',
        'plain pickle',
    ):
        (tmp_path / 'x.pth').write_bytes(REFUSED[name]())
        content = (tmp_path / 'x.pth').read_bytes()
        while content[:2] == b'PK':
            archive = zipfile.ZipFile(tmp_path / 'x.pth')
            content = archive.read(next(part for part in archive.namelist() if part.endswith('data.pkl')))
            (tmp_path / 'x.pth').write_bytes(content)

        class Unpickler(pickle.Unpickler):
            def persistent_load(self, _):
                return None

        with open('x.pth', 'rb') as file:
            Unpickler(file).load()
        assert (tmp_path / 'RAN').exists(), name
        (tmp_path / 'RAN').unlink()


def test_what_torch_writes_is_read(tmp_path):
    """The limits above allow honest files, also in the old format."""
    buffer = torch.randn(10)
    content = dict(
        a=torch.randn(3, 4).t(),
        b=[torch.zeros(0), torch.tensor(1.5)],
        c=buffer[2:5],
        d=torch.nn.Parameter(torch.ones(2)),
        e=[None] * 5000,
        f=torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
        g=['the same text'] * 1000,
        h=torch.Size([2, 3]),
        i={1, 'a'},
        j=bytearray(b'ab'),
        k=OrderedDict(a=1),
        l=bytearray(),
        m=torch.zeros(0, 3),
        n=torch.tensor(3),
    )
    content['d'].note = content['c'].note = 'an attribute, for which torch writes another call'
    for new in (True, False):
        torch.save(content, tmp_path / 'a.pth', _use_new_zipfile_serialization=new)
        loaded = load_from_file(str(tmp_path / 'a.pth'))
        for key, value in content.items():
            assert (
                torch.equal(loaded[key], value) if isinstance(value, torch.Tensor) else str(loaded[key]) == str(value)
            )
        assert loaded['f'].stride() == content['f'].stride()
