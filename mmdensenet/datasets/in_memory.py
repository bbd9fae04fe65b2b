"""The content of a file that is in memory, under a name that whatever reads files with mmengine's fileio can read."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from mmengine import fileio

_contents: dict[str, bytes] = {}
_numbers = count()
_lock = threading.Lock()


@contextmanager
def in_memory(content: bytes) -> Iterator[str]:
    """A path of ``content``, valid within the context, in this process, in all of its threads.

    So a test pipeline does with bytes what it does with a file, whatever its loading step is.
    """
    with _lock:
        path = f'memory://{next(_numbers)}'
    _contents[path] = content
    try:
        yield path
    finally:
        del _contents[path]


class InMemoryBackend(fileio.BaseStorageBackend):
    """Reads what :func:`in_memory` holds."""

    def get(self, filepath: str) -> bytes:
        try:
            return _contents[str(filepath)]
        except KeyError:
            raise FileNotFoundError(2, 'no longer in memory', str(filepath)) from None

    def get_text(self, filepath: str, encoding: str = 'utf-8') -> str:
        return self.get(filepath).decode(encoding)


fileio.register_backend('mmdensenet.memory', InMemoryBackend, force=True, prefixes='memory')
