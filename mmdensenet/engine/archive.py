"""What a checkpoint file says of itself, checked before torch reads it: a few bytes can claim to be very much."""

import os
import pickle
import pickletools
import zipfile
from collections.abc import Iterator
from typing import BinaryIO

_MAGIC = b'PK\x03\x04'
_OLD_MAGIC = b'\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19'  # of torch before 1.6, after two bytes for pickle's protocol
_OLD_PICKLES = 5  # magic number, protocol, system, content, keys of the storages


def check_claims(path: str | os.PathLike) -> None:
    """Check a file's table of contents and the size of what its pickle unfolds to.

    torch writes its parts uncompressed, so none is larger than the file, and all together are not. A bomb is: a
    compressed part, or many entries for the same bytes. Names do not matter, as nothing is unpacked.

    Raises:
        zipfile.BadZipFile: if it is none, although it begins as one.
        pickle.UnpicklingError: if the file is compressed, encrypted, TorchScript, or says to be larger than it is.
    """
    size = os.path.getsize(path)
    with open(path, 'rb') as file:
        start = file.read(14)
        if not start.startswith(_MAGIC):
            if start[2:] != _OLD_MAGIC:  # what else torch reads is a tar file, for which it makes a folder
                raise pickle.UnpicklingError('it begins as no file of torch.save')
            file.seek(0)
            for _ in range(_OLD_PICKLES):
                _check_pickle(file, size)
            return
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
        for part in parts:
            if part.compress_type != zipfile.ZIP_STORED or part.flag_bits & 1:
                raise pickle.UnpicklingError(f'{part.filename[:80]} is compressed or encrypted; torch does not do that')
            if part.filename.endswith('constants.pkl'):
                raise pickle.UnpicklingError('it is a TorchScript program, not a checkpoint')
        if sum(max(part.file_size, part.compress_size) for part in parts) > size:
            raise pickle.UnpicklingError('its parts are larger than the file')
        for part in parts:
            if part.filename.endswith('data.pkl'):
                with archive.open(part) as content:
                    _check_pickle(content, part.file_size)


class _Object:
    """What an opcode makes: nothing but what it contains."""

    __slots__ = ('parts', 'size')

    def __init__(self, parts: list['_Object']):
        self.parts = parts
        self.size = 0  # not known yet; -1 while it is being counted


_LEAF = _Object([])
_MARK = _Object([])


def _check_pickle(file: BinaryIO, size: int) -> None:
    """Refuse a pickle that unfolds to more than ten times its opcodes.

    A list of ten times a list of ten times a list ... takes a few bytes for each level, and comparing, hashing or
    printing it takes for ever; so does torch's message that it is not allowed.
    """
    allowed = 10 * size + 1000
    try:
        for made in list(_simulate(file)):
            if _count(made, allowed) > allowed:
                raise pickle.UnpicklingError('it unfolds to more than a file of its size can hold')
    except (IndexError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise pickle.UnpicklingError(f'its pickle is not one: {error}') from error


def _simulate(file: BinaryIO) -> Iterator[_Object]:
    """The containers that a pickle makes, without making them."""
    stack: list[_Object] = []
    memo: dict[int, _Object] = {}

    def down_to_mark() -> list[_Object]:
        items = []
        while (item := stack.pop()) is not _MARK:
            items.append(item)
        return items

    for opcode, argument, _ in pickletools.genops(file):
        name, before = opcode.name, opcode.stack_before
        if name == 'MARK':
            stack.append(_MARK)
        elif name in ('PUT', 'BINPUT', 'LONG_BINPUT'):
            memo[argument] = stack[-1]
        elif name == 'MEMOIZE':
            memo[len(memo)] = stack[-1]
        elif name in ('GET', 'BINGET', 'LONG_BINGET'):
            stack.append(memo[argument])
        elif name == 'DUP':
            stack.append(stack[-1])
        elif name in ('APPEND', 'SETITEM', 'BUILD'):
            items = [stack.pop() for _ in before[1:]]
            _extend(stack, items)
        elif name in ('APPENDS', 'SETITEMS', 'ADDITEMS'):
            items = down_to_mark()
            _extend(stack, items)
        elif not before:
            stack.extend(_Object([]) if name.startswith('EMPTY_') else _LEAF for _ in opcode.stack_after)
        else:
            items = down_to_mark() if pickletools.markobject in before else [stack.pop() for _ in before]
            made = [_Object(list(items)) for _ in opcode.stack_after]
            stack.extend(made)
            yield from made
            continue
        if name.startswith('EMPTY_'):
            yield stack[-1]


def _extend(stack: list[_Object], items: list[_Object]) -> None:
    if stack[-1] in (_LEAF, _MARK):
        raise ValueError('items for something that has none')
    stack[-1].parts.extend(items)


def _count(top: _Object, limit: int) -> int:
    """Number of objects that are met on a walk which goes into a shared one each time; at most ``limit`` + 1."""
    work = [top]
    while work:
        item = work[-1]
        if item.size > 0:
            work.pop()
        elif item.size == 0:
            item.size = -1
            work.extend(part for part in item.parts if part.size == 0)
            if any(part.size == -1 for part in item.parts):
                raise ValueError('it contains itself')
        else:
            item.size = min(limit + 1, 1 + sum(part.size for part in item.parts))
            work.pop()
    return top.size
