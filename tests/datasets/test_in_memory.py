"""mmdensenet.datasets.in_memory: bytes under a path, in all threads, for as long as it is needed."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from mmengine import fileio

from mmdensenet.datasets.in_memory import in_memory


def test_read_as_a_file():
    with in_memory(b'a\xc3\xa4') as path:
        assert fileio.get(path) == b'a\xc3\xa4' and fileio.get_text(path) == 'aä'
    with pytest.raises(FileNotFoundError, match='no longer in memory'):
        fileio.get(path)


def test_threads_do_not_see_each_others_content():
    def read(number):
        with in_memory(b'%d' % number) as path:
            return path, fileio.get(path)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(read, range(50)))
    assert [content for _, content in found] == [b'%d' % number for number in range(50)]
    assert len({path for path, _ in found}) == 50


def test_an_error_ends_it_too():
    with pytest.raises(KeyError), in_memory(b'x') as path:
        raise KeyError
    with pytest.raises(FileNotFoundError):
        fileio.get(path)
