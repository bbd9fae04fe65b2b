"""Checkpoint files that do what no checkpoint may, made here. Each would leave a file named RAN in its folder."""

import builtins
import io
import os
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

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


def saved(content, **options) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **options)
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


def integer(value: int) -> bytes:
    return b'\x8a\x08' + struct.pack('<q', value)


#: functions and types as a pickle names them
REBUILD, PLAIN_TENSOR, FLOATS = b'ctorch._utils\n_rebuild_tensor_v2\n', b'ctorch\nTensor\n', b'ctorch\nFloatTensor\n'
FOUR_FLOATS = b'(' + text('storage') + b'ctorch\nFloatStorage\n' + text('0') + text('cpu') + integer(4) + b'tQ'


def of_floats(items: int) -> bytes:
    """The arguments, without the end of their tuple, of a tensor of so many items over four floats."""
    return b'(' + FOUR_FLOATS + b'K\x00' + size(items) + size(items == 4) + b'\x89}'


def other_data() -> bytes:
    """The tensor on the stack becomes one of many items over four floats, as before torch 0.2."""
    return b'(' + FOUR_FLOATS + b'K\x00' + size(1 << 22) + size(0) + b'tb'


def copied(made: bytes) -> bytes:
    """A tensor in another type, which takes memory for each item."""
    arguments = made + b'ctorch\nfloat64\n' + text('cpu') + b'\x89'
    return called(b'torch._utils\n_rebuild_device_tensor_from_cpu_tensor\n', arguments)


def expanded(made: bytes) -> bytes:
    return archive(pickled(made), {'c/data/0': bytes(16)})


def grown(levels: int = 22) -> bytes:
    """A text that is twice as long after each call."""
    made = called(b'_codecs\nencode\n', text('a'), text('latin1'))
    for _ in range(levels):
        made = called(b'_codecs\nencode\n', made, text('hex'))
    return made


def bomb(levels: int = 30) -> bytes:
    """A list of ten times a list of ten times a list ..."""
    made = b']q\x00'
    for level in range(levels):
        made += b'](' + (b'h' + bytes([level])) * 10 + b'eq' + bytes([level + 1])
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


def local_header(name: bytes, data: bytes, size: int, method: int = 0) -> bytes:
    numbers = (20, 0, method, 0, 0x21, zlib.crc32(data), len(data), size, len(name), 0)
    return struct.pack('<4s5H3L2H', b'PK\3\4', *numbers) + name


def entry(name: bytes, data: bytes, size: int, offset: int, method: int = 0) -> bytes:
    numbers = (20, 20, 0, method, 0, 0x21, zlib.crc32(data), len(data), size, len(name), 0, 0, 0, 0, 0, offset)
    return struct.pack('<4s6H3L5H2L', b'PK\1\2', *numbers) + name


def end_record(count: int, size: int, offset: int, comment: bytes = b'') -> bytes:
    return struct.pack('<4s4H2LH', b'PK\5\6', 0, 0, count, count, size, offset, len(comment)) + comment


def overlapping() -> bytes:
    """A thousand entries for the same million bytes."""
    data = bytes(1_000_000)
    body = local_header(b'c/00', data, len(data)) + data
    entries = b''.join(entry(f'c/{number}'.encode(), data, len(data), 0) for number in range(1000))
    return body + entries + end_record(1000, len(entries), len(body))


def two_directories(megabytes: int = 96) -> bytes:
    """zipfile takes the directory before the end record, of a small file; torch the one that the record names, a bomb.

    The bomb is a compressed tensor of so many megabytes, below the test's limit: torch would load it.
    """
    packer, zeros = zlib.compressobj(9, zlib.DEFLATED, -15), bytes(1 << 24)
    packed = b''.join(packer.compress(zeros) for _ in range(megabytes >> 4)) + packer.flush()
    numel = megabytes << 18
    bomb = pickled(tensor('_rebuild_tensor_v2', numel, size(numel), size(1)))
    large = {b'c/data.pkl': (bomb, len(bomb), 0), b'c/data/0': (packed, 4 * numel, 8), b'c/version': (b'3\n', 2, 0)}
    small = {b'c/data.pkl': (b'\x80\x02}.', 4, 0), b'c/data/0': (b'\0', 1, 0), b'c/version': (b'3\n', 2, 0)}
    body, offsets = b'', []
    for parts in (large, small):
        for name, (data, unpacked, method) in parts.items():
            offsets.append(len(body))
            body += local_header(name, data, unpacked, method) + data

    def directory(parts: dict, offsets: list[int]) -> bytes:
        rows = zip(parts.items(), offsets)
        return b''.join(entry(name, data, unpacked, at, method) for (name, (data, unpacked, method)), at in rows)

    theirs = directory(large, offsets[:3])
    # zipfile takes what lies between the two for something before the zip file, and adds its length to all offsets
    ours = directory(small, [at - len(theirs) for at in offsets[3:]])
    return body + theirs + ours + end_record(3, len(ours), len(body))


def one_part(name: bytes = b'c/data.pkl', local: bytes | None = None, data: bytes = b'\x80\x02}.') -> bytes:
    body = local_header(name if local is None else local, data, len(data)) + data
    listed = entry(name, data, len(data), 0)
    return body + listed + end_record(1, len(listed), len(body))


def changed(data: bytes, record: bytes, offset: int, format: str, by: int) -> bytes:
    """A zip file with a number changed: in the last record of this kind, at an offset."""
    made, at = bytearray(data), data.rindex(record) + offset
    struct.pack_into(format, made, at, struct.unpack_from(format, made, at)[0] + by)
    return bytes(made)


def same_hash(
    make_key: Callable[[int], bytes], count: int = 40_000, then: bytes = b'K\x00', kind: bytes = b'}'
) -> bytes:
    """A dict whose keys Python cannot tell apart by their hashes."""
    return pickled(kind + b'(' + b''.join(make_key(number) + then for number in range(1, count + 1)) + b'u')


def long(value: int) -> bytes:
    data = value.to_bytes((value.bit_length() + 8) // 8, 'little', signed=True)
    return b'\x8a' + bytes([len(data)]) + data


MODULUS = (1 << 61) - 1  # of Python's hash of a number


def pair_of_one_hash(number: int) -> bytes:
    """Pairs with the same hash: the second number undoes what the first does in CPython's hash of a tuple."""
    mask, prime_1, prime_2 = (1 << 64) - 1, 11400714785074694791, 14029467366897019727
    start = 2870177450012600261
    for first in range(number * 64, number * 64 + 64):
        state = (start + first * prime_2) & mask
        state = ((state << 31 | state >> 33) * prime_1) & mask
        second = (12345 - state) * pow(prime_2, -1, 1 << 64) & mask
        second -= (1 << 64) if second >> 63 else 0
        if abs(second) < MODULUS:
            return long(first) + long(second) + b'\x86'
    raise AssertionError('each is found with a probability of 1/4')


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
    'object of a class': lambda: saved(SimpleNamespace(a=1)),
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
    'legacy': lambda: saved(dict(a=Calls(os.system, 'touch RAN')), _use_new_zipfile_serialization=False),
    'tar': tar,
    'torchscript': torchscript,
    'nested archive': lambda: archive(saved(Calls(os.system, 'touch RAN'))),
    'archive in a part': lambda: archive(pickled(b'}'), {'c/constants.pkl': saved(Calls(os.system, 'touch RAN'))}),
    'two pickles': lambda: archive(saved_pickle(Calls(os.system, 'touch RAN')), {'d/data.pkl': pickled(b'}')}),
    'compressed': compressed,
    'two directories': two_directories,
    'two end records': lambda: one_part() + one_part(),
    'a part with two names': lambda: one_part(local=b'c/other.pk'),
    'a part that is in it twice': lambda: archive(pickled(b'}'), {'c/DATA.PKL': bomb()}),
    'something before': lambda: archive(pickled(b'}'))[:40] + archive(pickled(b'}')),
    'something behind': lambda: archive(pickled(b'}')) + b'PK\5\6',
    'another directory for large files': lambda: changed(saved({}), b'PK\6\6', 48, '<Q', -46),
    'another end record for large files': lambda: changed(saved({}), b'PK\6\7', 8, '<Q', -56),
    'another number of parts': lambda: changed(saved({}), b'PK\5\6', 10, '<H', -1),
    'another size': lambda: changed(saved({}), b'PK\1\2', 20, '<L', 1),
    'a header elsewhere': lambda: changed(saved({}), b'PK\1\2', 42, '<L', -64),
    'keys with the same hash': lambda: archive(same_hash(lambda number: long(number * MODULUS))),
    'pairs with the same hash': lambda: archive(same_hash(pair_of_one_hash, 20_000)),
    'a set with the same hash': lambda: archive(
        pickled(called(b'__builtin__\nset\n', b'](' + b''.join(long(i * MODULUS) for i in range(1, 40_000)) + b'e'))
    ),
    'numbers of numpy as keys': lambda: saved({np.complex128(complex(1000003 * n, -n)): 0 for n in range(3_000)}),
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
    'a tensor of a size': lambda: archive(pickled(called(b'torch\nFloatTensor\n', integer(1 << 22)))),
    'a new tensor of a size': lambda: archive(
        pickled(b'ctorch\nTensor\n(' + integer(1 << 11) + integer(1 << 11) + b't\x81')
    ),
    'a storage of a size': lambda: archive(pickled(called(b'torch.storage\nUntypedStorage\n', integer(1 << 24)))),
    'bytearray of a length': lambda: archive(pickled(called(b'__builtin__\nbytearray\n', integer(1 << 24)))),
    'a tensor of a size, called for': lambda: archive(
        pickled(called(b'torch._tensor\n_rebuild_from_type_v2\n', FLOATS, PLAIN_TENSOR, size(1 << 22), b'}'))
    ),
    'a shape, called for': lambda: expanded(
        called(b'torch._tensor\n_rebuild_from_type_v2\n', REBUILD, PLAIN_TENSOR, of_floats(1 << 22) + b't', b'}')
    ),
    'a shape of an argument that is called': lambda: expanded(
        copied(REBUILD + b'(' + FOUR_FLOATS + b'K\x00' + called(b'torch\nSize\n', size(1 << 22)) + size(0) + b'\x89}tR')
    ),
    'a shape with a truth value': lambda: expanded(
        copied(REBUILD + b'(' + FOUR_FLOATS + b'K\x00(' + integer(1 << 22) + b'\x88t' + size(0, 0) + b'\x89}tR')
    ),
    'a list of arguments': lambda: expanded(
        copied(REBUILD + b']' + b'a'.join([FOUR_FLOATS, b'K\x00', size(1 << 22), size(0), b'\x89', b'}', b'R']))
    ),
    'texts that grow': lambda: archive(pickled(grown())),
    'a set of a shape': lambda: expanded(called(b'__builtin__\nset\n', REBUILD + of_floats(1 << 21) + b'tR')),
    'a set of a tensor': lambda: expanded(called(b'__builtin__\nset\n', REBUILD + of_floats(4) + b'tR')),
    'copy of a shape': lambda: expanded(copied(REBUILD + of_floats(1 << 22) + b'tR')),
    'copy of other data': lambda: expanded(copied(REBUILD + of_floats(4) + b'tR' + other_data())),
    'copy of a new tensor': lambda: expanded(copied(PLAIN_TENSOR + b')R' + other_data())),
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
