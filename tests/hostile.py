"""Checkpoint files that do what no checkpoint may, made here. Each would leave a file named RAN in its folder."""

import builtins
import io
import os
import pickle
import struct
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

CODE = "open('RAN', 'w').close()"


class Calls:
    """Its pickle calls ``function(*arguments)``, and then sets ``state``."""

    def __init__(self, function, *arguments, state=None):
        self.parts = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.parts


class Callable_(list):  # noqa: N801
    """A list whose pickle builds it from a state that calls."""

    def __reduce__(self):
        return OrderedDict, (), dict(update=Calls(os.system, 'touch RAN'))


def saved(content) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def archive(pickled: bytes, parts: dict[str, bytes] | None = None, compression=zipfile.ZIP_STORED) -> bytes:
    """A file as torch writes it, around any pickle."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w', compression) as made:
        made.writestr('c/data.pkl', pickled)
        made.writestr('c/version', b'3\n')
        for name, data in (parts or {}).items():
            made.writestr(name, data)
    return file.getvalue()


def pickled(text: bytes) -> bytes:
    return b'\x80\x02' + text + b'.'


def text(value: str) -> bytes:
    return b'X' + struct.pack('<I', len(value)) + value.encode()


#: as a pickle names it
GETATTR = b'__builtin__\ngetattr\n'


def called(function: bytes, *arguments: bytes) -> bytes:
    return b'c' + function + b'(' + b''.join(arguments) + b'tR'


def tensor(rebuild: str, numel: int, shape: bytes, stride: bytes) -> bytes:
    """A tensor over the storage '0', with any numbers in it."""
    number = b'\x8a\x08' + struct.pack('<q', numel)
    storage = b'(' + text('storage') + b'ctorch\nFloatStorage\n' + text('0') + text('cpu') + number + b'tQ'
    return b'ctorch._utils\n' + rebuild.encode() + b'\n(' + storage + b'K\x00' + shape + stride + b'\x89}tR'


def size(*numbers: int) -> bytes:
    return b'(' + b''.join(b'\x8a\x08' + struct.pack('<q', number) for number in numbers) + b't'


def bomb(levels: int = 30) -> bytes:
    """A list of ten times a list of ten times a list ..."""
    made = b']q\x00'
    for level in range(levels):
        made += b'](' + b'h' + bytes([level]) * 1 + (b'h' + bytes([level])) * 9 + b'eq' + bytes([level + 1])
    return pickled(made)


def compressed() -> bytes:
    """4 GB of zeros in 4 MB."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED, compresslevel=9) as made:
        made.writestr('c/data.pkl', saved_pickle(dict(a=1)))
        made.writestr('c/version', b'3\n')
        with made.open('c/data/0', 'w', force_zip64=True) as part:
            chunk = bytes(1 << 22)
            for _ in range(64):
                part.write(chunk)
    return file.getvalue()


def saved_pickle(content) -> bytes:
    return zipfile.ZipFile(io.BytesIO(saved(content))).read('archive/data.pkl')


def overlapping() -> bytes:
    """A thousand entries for the same million bytes."""
    data = bytes(1_000_000)
    local = b'PK\x03\x04' + struct.pack('<HHHHHIIIHH', 20, 0, 0, 0, 0, 0, len(data), len(data), 4, 0) + b'c/00'
    entries = b''
    for number in range(1000):
        name = f'c/{number}'.encode()
        entries += b'PK\x01\x02' + struct.pack(
            '<HHHHHHIIIHHHHHII', 20, 20, 0, 0, 0, 0, 0, len(data), len(data), len(name), 0, 0, 0, 0, 0, 0
        )
        entries += name
    body = local + data
    return body + entries + b'PK\x05\x06' + struct.pack('<HHHHIIH', 0, 0, 1000, 1000, len(entries), len(body), 0)


def legacy(content) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def tar() -> bytes:
    """torch's oldest format, which is unpacked into a folder, with names that lead out of it."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode='w') as made:
        for name in ('storages', 'tensors', 'pickle', '../../RAN', '/tmp/RAN'):
            info = tarfile.TarInfo(name)
            info.size = 4
            made.addfile(info, io.BytesIO(b'\x80\x02N.'))
    return file.getvalue()


def torchscript() -> bytes:
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), file)
    return file.getvalue()


#: name -> bytes of a file that is to be refused
REFUSED: dict[str, Callable[[], bytes]] = {
    'reduce': lambda: saved(Calls(os.system, 'touch RAN')),
    'eval': lambda: saved(dict(state_dict=Calls(eval, CODE))),
    'exec': lambda: saved([Calls(getattr(builtins, 'exec'), CODE)]),  # noqa: B009
    'import': lambda: saved(Calls(__import__, 'antigravity')),
    'build': lambda: saved(Callable_()),
    'state of a dict': lambda: saved(Calls(OrderedDict, state=dict(keys=Calls(os.system, 'touch RAN')))),
    'getattr': lambda: archive(
        pickled(
            called(GETATTR, called(GETATTR, b'c' + GETATTR, text('__self__')), text('eval')) + b'(' + text(CODE) + b'tR'
        )
    ),
    'getattr called': lambda: archive(
        pickled(b'cbuiltins\ngetattr\n(cnumpy\nndarray\n' + text('tofile') + b'tR(' + text('RAN') + b'tR')
    ),
    'history with code': lambda: saved(Calls(HistoryBuffer, Calls(os.system, 'touch RAN'))),
    'array of objects': lambda: saved(np.array([Calls(os.system, 'touch RAN')], dtype=object)),
    'dtype with a name': lambda: archive(pickled(called(b'numpy\ndtype\n', text('O')))),
    'instance': lambda: archive(b'(' + text('touch RAN') + b'ios\nsystem\n.'),
    'object': lambda: archive(b'c__builtin__\neval\n' + text(CODE) + b'\x85\x81.'),
    'stack global': lambda: archive(b'\x80\x04\x8c\x02os\x8c\x06system\x93' + text('touch RAN') + b'\x85R.'),
    'extension': lambda: archive(pickled(b'\x82\x01')),
    'persistent id': lambda: archive(pickled(called(b'os\nsystem\n', text('touch RAN')) + b'Q')),
    'map_location': lambda: archive(
        pickled(b'(' + text('storage') + b'ctorch\nFloatStorage\n' + text('0') + text('cuda:99') + b'K\x01tQ'),
        {'c/data/0': bytes(4)},
    ),
    'plain pickle': lambda: pickle.dumps(Calls(os.system, 'touch RAN')),
    'plain pickle, protocol 0': lambda: pickle.dumps(Calls(os.system, 'touch RAN'), protocol=0),
    'legacy': lambda: legacy(dict(a=Calls(os.system, 'touch RAN'))),
    'tar': tar,
    'torchscript': torchscript,
    'nested archive': lambda: archive(saved(Calls(os.system, 'touch RAN'))),
    'archive in a part': lambda: archive(pickled(b'}'), {'c/constants.pkl': saved(Calls(os.system, 'touch RAN'))}),
    'two pickles': lambda: archive(saved_pickle(Calls(os.system, 'touch RAN')), {'d/data.pkl': pickled(b'}')}),
    'compressed': compressed,
    'overlapping': overlapping,
    'lists of lists': lambda: archive(bomb()),
    'a bomb that is called': lambda: archive(bomb()[:-1] + b')R.'),
    'deep': lambda: archive(pickled(b']' * 100_000 + b'a' * 99_999)),
    'itself': lambda: archive(pickled(b']q\x00h\x00a')),
    'huge storage': lambda: archive(
        pickled(tensor('_rebuild_tensor_v2', 1 << 50, size(1 << 50), size(1))), {'c/data/0': bytes(16)}
    ),
    'huge shape': lambda: archive(
        pickled(tensor('_rebuild_tensor_v2', 4, size(1 << 40), size(0))), {'c/data/0': bytes(16)}
    ),
    'negative shape': lambda: archive(
        pickled(tensor('_rebuild_tensor_v2', 4, size(-4), size(1))), {'c/data/0': bytes(16)}
    ),
    'beyond the storage': lambda: archive(
        pickled(tensor('_rebuild_tensor_v2', 4, size(2, 2), size(1 << 40, 1))), {'c/data/0': bytes(16)}
    ),
    'sparse': lambda: saved(torch.sparse_coo_tensor([[0]], [1.0], (1 << 40,))),
    'meta': lambda: saved(torch.empty(1 << 40, device='meta')),
    'huge bytes': lambda: archive(b'\x80\x02X\xff\xff\xff\x7fabc.'),
    'huge frame': lambda: archive(b'\x80\x04\x95' + struct.pack('<Q', 1 << 60) + b'N.'),
    'huge memo': lambda: archive(b'\x80\x02}r\xff\xff\xff\xffc__builtin__\neval\n.'),
    'bytes of a length': lambda: archive(pickled(b'c__builtin__\nbytes\n\x8a\x06' + bytes([0] * 5 + [9]) + b'\x85R')),
    'no end': lambda: archive(b'\x80\x02}('),
    'empty pickle': lambda: archive(b''),
}

#: text that mmengine and mmpretrain would execute; the file is read, the text is not
WITH_CONFIG_TEXT = ('config', 'cfg')


def checkpoint_with_code(model_state: dict, file: Path) -> None:
    """The state of a model, with Python wherever somebody looks for a config."""
    hub = dict(log_scalars={}, runtime_info=dict(cfg=CODE), resumed_keys=dict(cfg=CODE))
    torch.save(dict(meta=dict.fromkeys(WITH_CONFIG_TEXT, CODE), state_dict=model_state, message_hub=hub), file)
