"""Checks of a checkpoint file before torch reads it: a few hostile bytes can expand to any size."""

import io
import math
import os
import pickle
import pickletools
import re
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from .zip_directory import read_directory

MAGIC = b'PK\x03\x04'
_OLD_MAGIC = b'\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19'  # of torch before 1.6, after two bytes of pickle's protocol
_OLD_PICKLES = 5  # magic number, protocol, system, content, keys of the storages
#: the most keys of one dict with the same hash; a lookup compares with all of them
_SAME_HASH = 100


def check_claims(path: str | os.PathLike) -> None:
    """Check a file's table of contents and the size to which its pickle unfolds.

    torch writes the parts uncompressed and one after the other, so their sizes add up to less than the file's. A bomb
    has compressed parts, or many entries for the same bytes. Names do not matter, because nothing is unpacked.

    Raises:
        zipfile.BadZipFile: if the file begins as a zip file but is not one, is compressed, or is ambiguous.
        pickle.UnpicklingError: if it is TorchScript, or unfolds to more than a file of its size can hold.
    """
    size = os.path.getsize(path)
    with open(path, 'rb') as file:
        start = file.read(14)
        if not start.startswith(MAGIC):
            if start[2:] != _OLD_MAGIC:  # torch also reads tar files, which it would unpack into a folder
                raise pickle.UnpicklingError('it begins as no file of torch.save')
            file.seek(0)
            for _ in range(_OLD_PICKLES):
                _check_pickle(file, size)
            return
        parts = read_directory(file).parts
        # torch ignores the case of names
        if any(part.name.lower().endswith(b'constants.pkl') for part in parts):
            raise pickle.UnpicklingError('it is a TorchScript program, not a checkpoint')
        for part in parts:
            if part.name.lower().endswith(b'data.pkl'):
                file.seek(part.start)
                _check_pickle(io.BytesIO(file.read(part.size)), part.size)


class _Hash(int):
    """A hash that is its own hash, so that a tuple of these has the hash of the tuple that it stands for."""

    def __hash__(self) -> int:
        return int(self)


class _Object:
    """What an opcode makes: only its parts, the last one first, and what is known of its hash, number and name."""

    __slots__ = ('caller', 'hash', 'keys', 'name', 'number', 'parts', 'size')

    def __init__(
        self, parts: list['_Object'] | tuple = (), hash_: _Hash | None = None, number: int | None = None, name: str = ''
    ):
        self.parts = parts
        self.number = number
        self.name = name  # of a function or class
        self.caller = ''  # the function that returned it
        self.size = 0  # unknown; -1 while :func:`_count` visits it
        self.hash = hash_
        self.keys: dict[_Hash, int] | None = None  # of a dict or set: the number of keys by hash

    def add_keys(self, keys: list['_Object']) -> None:
        """Count the keys of a dict or the items of a set. pickle never writes one of them twice."""
        self.keys = {} if self.keys is None else self.keys
        for key in keys:
            if key.hash is not None:
                self.keys[key.hash] = count = self.keys.get(key.hash, 0) + 1
                if count > _SAME_HASH:
                    raise pickle.UnpicklingError('it has too many keys of the same hash')


_LEAF = _Object()
_MARK = _Object()


def _check_pickle(file: BinaryIO, size: int) -> None:
    """Refuse a pickle that unfolds to more than ten times its opcodes.

    A list of ten times the same list of ten times the same list and so on takes a few bytes a level, but comparing,
    hashing or printing it never ends; nor does torch's message that it is not allowed.
    """
    allowed = 10 * size + 1000
    try:
        for made in list(_simulate(file, allowed)):
            if _count(made, allowed) > allowed:
                raise pickle.UnpicklingError('it unfolds to more than a file of its size can hold')
    except (IndexError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise pickle.UnpicklingError(f'its pickle is not one: {error}') from error


def _simulate(file: BinaryIO, allowed: int) -> Iterator[_Object]:
    """Yield the containers that a pickle makes, without making them. Its calls may read ``allowed`` items in all."""
    stack: list[_Object] = []
    memo: dict[int, _Object] = {}
    leaves: dict[tuple[int, int | None], _Object] = {}

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
            elif name == 'GLOBAL':
                made = _Object(name=argument.replace(' ', '.'))
            elif isinstance(argument, (int, float, str)):
                hash_ = _Hash(hash(argument))
                number = int(hash_) if isinstance(argument, int) and hash_ == argument else None  # below 2**61
                made = leaves.get((hash_, number))
                if made is None:
                    made = leaves[hash_, number] = _Object(hash_=hash_, number=number)
            else:
                made = _LEAF
            stack.append(made)
        else:
            items = down_to_mark() if pickletools.markobject in before else [stack.pop() for _ in before]
            made = [_Object(items) for _ in opcode.stack_after]
            if name.startswith('TUPLE'):
                made[0].hash = _tuple_hash(items[::-1])
            elif name == 'DICT':
                made[0].add_keys(items[1::2])
            elif name == 'FROZENSET':
                made[0].add_keys(items)
            elif name == 'BINPERSID':
                made[0].caller = name
            elif name in ('REDUCE', 'NEWOBJ'):
                made[0].caller = items[1].name
                _check_call(items[1].name, items[0])
                if len(items[0].parts) == 1:
                    allowed -= _call(made[0], items[0].parts[0])
                if allowed < 0:
                    raise pickle.UnpicklingError('it goes over more items than a file of its size can hold')
            stack.extend(made)
            yield from made
            continue
        if name.startswith('EMPTY_'):
            yield stack[-1]


def _extend(stack: list[_Object], items: list[_Object], name: str) -> None:
    """Add items, the last one first, to the container on top of the stack."""
    top = stack[-1]
    if top in (_LEAF, _MARK):
        raise ValueError('items for something that has none')
    if name == 'BUILD' and top.caller.startswith(('torch._utils.', 'torch._tensor.')):
        raise pickle.UnpicklingError('it gives a tensor other data')
    top.parts.extend(items)
    if name in ('SETITEM', 'SETITEMS'):
        top.add_keys(items[1::2])
    elif name == 'ADDITEMS':
        top.add_keys(items)


def _tuple_hash(items: Sequence[_Object]) -> _Hash:
    return _Hash(hash(tuple(item.hash for item in items)))


def _check_call(name: str, given: _Object) -> None:
    """Refuse calls that ``torch.save`` does not write, and that make much of little: memory for a number of bytes or a
    shape, texts that grow each time they are encoded, copies of a tensor whose strides are 0, items of tensors."""
    arguments = given.parts[::-1]
    fits = _is_tuple(given)
    if re.fullmatch(r'torch\..*(Tensor|Storage)', name):
        fits = not arguments
    elif name.endswith('.bytearray'):
        of_bytes = all(argument.caller.endswith(('.encode', '.bytes')) for argument in arguments)
        fits &= of_bytes or len(arguments) == 2  # a text and its encoding
    elif name == '_codecs.encode':
        fits &= not any(argument.parts for argument in arguments)
    elif name.startswith(('torch._utils._rebuild_tensor', 'torch._utils._rebuild_qtensor')):
        fits &= _is_within_storage(arguments[0], arguments[2])
    elif name == 'torch._utils._rebuild_device_tensor_from_cpu_tensor':
        fits &= _is_rebuilt(arguments[0])
    elif name == 'torch._utils._rebuild_sparse_tensor':
        fits &= all(_is_rebuilt(part) for part in arguments[1].parts if part.caller not in ('', 'torch.Size'))
    elif name == 'torch._tensor._rebuild_from_type_v2':
        fits &= arguments[0].name.startswith('torch._utils.')
        _check_call(arguments[0].name, arguments[2])
    elif re.fullmatch(r'.*\.(set|OrderedDict|Counter|Size)', name):
        fits &= not any(argument.caller for argument in arguments)
    if not fits:
        raise pickle.UnpicklingError(f'it calls {name} as no file of torch.save does')


def _is_tuple(item: _Object) -> bool:
    return item.hash is not None and not item.caller


def _is_rebuilt(item: _Object) -> bool:
    return item.caller.startswith('torch._utils._rebuild_tensor')


def _is_within_storage(storage: _Object, size: _Object) -> bool:
    """Whether a tensor of this size has an item of the storage for each of its own."""
    numbers = [part.number for part in size.parts]
    if storage.caller != 'BINPERSID' or not _is_tuple(size) or None in numbers:
        return False
    return math.prod(numbers) <= (storage.parts[0].parts[::-1][4].number or 0)


def _call(made: _Object, argument: _Object) -> int:
    """Simulate a call with one argument: a set of a list, a dict of a list of pairs, or a torch.Size of either.

    Returns:
        The number of items that the call reads.
    """
    given = argument.parts
    made.hash = argument.hash if argument.hash is not None else _tuple_hash(given)
    if argument.keys is not None:  # a dict
        return len(given)
    made.add_keys(list(given))
    if given and all(len(item.parts) == 2 for item in given):
        made.add_keys([item.parts[1] for item in given])
    return len(given)


def _count(top: _Object, limit: int) -> int:
    """The number of objects, with a shared one counted every time it occurs; at most ``limit`` + 1."""
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
