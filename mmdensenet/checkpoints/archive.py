"""What a checkpoint file says of itself, checked before torch reads it: a few bytes can claim to be very much."""

import io
import os
import pickle
import pickletools
from collections.abc import Iterator
from typing import BinaryIO

from .zip_directory import read_directory

MAGIC = b'PK\x03\x04'
_OLD_MAGIC = b'\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19'  # of torch before 1.6, after two bytes for pickle's protocol
_OLD_PICKLES = 5  # magic number, protocol, system, content, keys of the storages
#: keys of one dict that may have the same hash; looking one up takes as many comparisons
_SAME_HASH = 100


def check_claims(path: str | os.PathLike) -> None:
    """Check a file's table of contents and what its pickle unfolds to.

    torch writes its parts uncompressed and one after the other, so all together are not larger than the file. A bomb
    is: a compressed part, or many entries for the same bytes. Names do not matter, as nothing is unpacked.

    Raises:
        zipfile.BadZipFile: if it begins as a zip file, and is none, is compressed, or can be read as two.
        pickle.UnpicklingError: if it is TorchScript, or says to be larger than it is.
    """
    size = os.path.getsize(path)
    with open(path, 'rb') as file:
        start = file.read(14)
        if not start.startswith(MAGIC):
            if start[2:] != _OLD_MAGIC:  # what else torch reads is a tar file, for which it makes a folder
                raise pickle.UnpicklingError('it begins as no file of torch.save')
            file.seek(0)
            for _ in range(_OLD_PICKLES):
                _check_pickle(file, size)
            return
        parts = read_directory(file).parts
        # torch looks names up without regard to case
        if any(part.name.lower().endswith(b'constants.pkl') for part in parts):
            raise pickle.UnpicklingError('it is a TorchScript program, not a checkpoint')
        for part in parts:
            if part.name.lower().endswith(b'data.pkl'):
                file.seek(part.start)
                _check_pickle(io.BytesIO(file.read(part.size)), part.size)


class _Hash(int):
    """A hash, which is hashed by itself: so a tuple of them has the hash of the tuple that it stands for."""

    def __hash__(self) -> int:
        return int(self)


class _Object:
    """What an opcode makes: nothing but what it contains, and its hash where it has one that is known."""

    __slots__ = ('hash', 'keys', 'parts', 'size')

    def __init__(self, parts: list['_Object'] | tuple = (), hash_: _Hash | None = None):
        self.parts = parts
        self.size = 0  # not known yet; -1 while it is being counted
        self.hash = hash_
        self.keys: dict[_Hash, int] | None = None  # of a dict or set: how many have which hash

    def add_keys(self, keys: list['_Object']) -> None:
        """Note the keys of a dict or the items of a set. No file that was written by pickle has one of them twice."""
        self.keys = {} if self.keys is None else self.keys
        for key in keys:
            if key.hash is not None:
                self.keys[key.hash] = count = self.keys.get(key.hash, 0) + 1
                if count > _SAME_HASH:
                    raise pickle.UnpicklingError('it has so many keys of the same hash that to look one up takes ages')


_LEAF = _Object()
_MARK = _Object()


def _check_pickle(file: BinaryIO, size: int) -> None:
    """Refuse a pickle that unfolds to more than ten times its opcodes.

    A list of ten times a list of ten times a list ... takes a few bytes for each level, and comparing, hashing or
    printing it never ends; so does torch's message that it is not allowed.
    """
    allowed = 10 * size + 1000
    try:
        for made in list(_simulate(file, allowed)):
            if _count(made, allowed) > allowed:
                raise pickle.UnpicklingError('it unfolds to more than a file of its size can hold')
    except (IndexError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise pickle.UnpicklingError(f'its pickle is not one: {error}') from error


def _simulate(file: BinaryIO, allowed: int) -> Iterator[_Object]:
    """The containers that a pickle makes, without making them. Its calls may go over ``allowed`` items in all."""
    stack: list[_Object] = []
    memo: dict[int, _Object] = {}
    leaves: dict[int, _Object] = {}

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
            _extend(stack, items, name)
        elif name in ('APPENDS', 'SETITEMS', 'ADDITEMS'):
            items = down_to_mark()
            _extend(stack, items, name)
        elif not before:
            if name == 'EMPTY_TUPLE':
                made = _Object([], _Hash(hash(())))
            elif name.startswith('EMPTY_'):
                made = _Object([])
            elif isinstance(argument, (int, float, str)):
                number = _Hash(hash(argument))
                made = leaves.get(number)
                if made is None:
                    made = leaves[number] = _Object(hash_=number)
            else:
                made = _LEAF
            stack.append(made)
        else:
            items = down_to_mark() if pickletools.markobject in before else [stack.pop() for _ in before]
            made = [_Object(items) for _ in opcode.stack_after]
            if name.startswith('TUPLE'):
                made[0].hash = _tuple_hash(items)
            elif name == 'DICT':
                made[0].add_keys(items[1::2])
            elif name == 'FROZENSET':
                made[0].add_keys(items)
            elif name in ('REDUCE', 'NEWOBJ') and len(items[0].parts) == 1:
                allowed -= _call(made[0], items[0].parts[0])
                if allowed < 0:
                    raise pickle.UnpicklingError('it goes over more items than a file of its size can hold')
            stack.extend(made)
            yield from made
            continue
        if name.startswith('EMPTY_'):
            yield stack[-1]


def _extend(stack: list[_Object], items: list[_Object], name: str) -> None:
    """Add items, the last one first, to what is on top of the stack."""
    top = stack[-1]
    if top in (_LEAF, _MARK):
        raise ValueError('items for something that has none')
    top.parts.extend(items)
    if name in ('SETITEM', 'SETITEMS'):
        top.add_keys(items[1::2])
    elif name == 'ADDITEMS':
        top.add_keys(items)


def _tuple_hash(last_first: list[_Object]) -> _Hash:
    return _Hash(hash(tuple(item.hash for item in reversed(last_first))))


def _call(made: _Object, argument: _Object) -> int:
    """What a call with one argument makes: a set of a list, a dict of a list of pairs, a torch.Size of either.

    Returns:
        The number of items that it goes over.
    """
    given = argument.parts
    made.hash = argument.hash if argument.hash is not None else _Hash(hash(tuple(item.hash for item in given)))
    if argument.keys is not None:  # a dict
        return len(given)
    made.add_keys(list(given))
    if given and all(len(item.parts) == 2 for item in given):
        made.add_keys([item.parts[1] for item in given])
    return len(given)


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
