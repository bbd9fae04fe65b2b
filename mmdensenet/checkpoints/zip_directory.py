"""The table of contents of a zip file, read so strictly that no two readers can see different files.

Python's zipfile looks for the directory before the end record, torch's miniz at the offset that the end record names.
Readers also differ in how they cut names, compare their case and handle duplicates. A file that two readers could
understand differently is refused. The format is PKWARE's APPNOTE 6.3.10, sections 4.3 and 4.5.3.
"""

import struct
import zipfile
import zlib
from dataclasses import dataclass
from typing import BinaryIO

# an x skips a byte of a field that is not read
_LOCAL = struct.Struct('<4s2x2H8x2L2H')
_ENTRY = struct.Struct('<4s4x2H4x3L4H6xL')
_END = struct.Struct('<4s4H2LH')
_LOCATOR = struct.Struct('<4sLQL')
_END_64 = struct.Struct('<4sQ2H2L4Q')
_LONGEST_COMMENT = 0xFFFF
#: placeholders for numbers that do not fit and are stored elsewhere
_ELSEWHERE_16, _ELSEWHERE_32 = 0xFFFF, 0xFFFFFFFF
_ENCRYPTED, _SIZES_FOLLOW = 0x1, 0x8
_CHUNK = 1 << 22


@dataclass(frozen=True)
class Part:
    """An uncompressed file inside a zip file: ``size`` bytes from ``start``."""

    name: bytes
    start: int
    size: int
    crc: int


@dataclass(frozen=True)
class Directory:
    """The parts of a zip file, and the comment after its end record."""

    parts: list[Part]
    comment: bytes


def read_directory(file: BinaryIO) -> Directory:
    """The parts of a zip file as torch writes it: none compressed, encrypted, duplicate or overlapping.

    Raises:
        zipfile.BadZipFile: if it is cut short or compressed, or two readers could understand it differently.
    """
    try:
        return _read(file)
    except struct.error as error:
        raise zipfile.BadZipFile('it is cut short or not a checkpoint') from error


def is_intact(file: BinaryIO, part: Part) -> bool:
    """Whether a part matches its checksum. torch writes 0 if checksums are switched off."""
    if part.crc == 0:
        return True
    file.seek(part.start)
    left, crc = part.size, 0
    while left > 0 and (chunk := file.read(min(left, _CHUNK))):
        crc = zlib.crc32(chunk, crc)
        left -= len(chunk)
    return left == 0 and crc == part.crc


def _read(file: BinaryIO) -> Directory:
    start, size, count, comment = _find(file)
    file.seek(start)
    directory = file.read(size)
    parts, names, spans, at = [], set(), [], 0
    while at < len(directory):
        signature, flags, method, crc, packed, unpacked, name_length, extra_length, comment_length, disk, header = (
            _ENTRY.unpack_from(directory, at)
        )
        at += _ENTRY.size
        name = directory[at : at + name_length]
        unpacked, packed, header = _sizes(
            directory[at + name_length : at + name_length + extra_length], unpacked, packed, header
        )
        at += name_length + extra_length + comment_length
        _require(signature == b'PK\1\2' and disk == 0 and at <= len(directory), 'its table of contents is damaged')
        shown = name[:80].decode('utf-8', 'replace')
        _require(
            method == zipfile.ZIP_STORED and not flags & _ENCRYPTED and packed == unpacked,
            f'{shown} is compressed or encrypted, which torch does not do',
        )
        _require(name and b'\0' not in name, 'a part has no proper name')
        _require(name.lower() not in names, f'{shown} is in it twice')
        names.add(name.lower())
        data = _data(file, header, name, flags, unpacked, shown)
        spans.append((header, data + unpacked))
        parts.append(Part(name, data, unpacked, crc))
    _require(len(parts) == count, 'its table of contents has another number of parts than its end record')
    spans.sort()
    for (_, end), (begin, _) in zip(spans, [*spans[1:], (start, start)]):
        _require(end <= begin, 'its parts are larger than the file, or share bytes')
    return Directory(parts, comment)


def _find(file: BinaryIO) -> tuple[int, int, int, bytes]:
    """Offset, size and number of entries of the directory, and the comment."""
    length = file.seek(0, 2)
    tail_at = max(0, length - _END.size - _LONGEST_COMMENT)
    file.seek(tail_at)
    tail = file.read()
    at = tail.rfind(b'PK\5\6')  # readers use the last one
    _require(at >= 0, 'it is cut short or not a checkpoint')
    _, disk, first, here, count, size, start, comment_length = _END.unpack_from(tail, at)
    comment = tail[at + _END.size :]
    _require(disk == first == 0 and here == count and comment_length == len(comment), 'its end record is damaged')
    ends = tail_at + at
    file.seek(max(0, ends - _LOCATOR.size))
    locator = file.read(_LOCATOR.size)
    if locator.startswith(b'PK\6\7'):
        _, disk, record, disks = _LOCATOR.unpack(locator)
        ends -= _LOCATOR.size + _END_64.size
        _require(disk == 0 and disks == 1 and record == ends, 'its end records do not fit together')
        file.seek(ends)
        signature, follows, _, _, disk, first, here, *numbers = _END_64.unpack(file.read(_END_64.size))
        _require(
            signature == b'PK\6\6' and follows == _END_64.size - 12 and disk == first == 0 and here == numbers[0],
            'its end record for large files is damaged',
        )
        elsewhere = (_ELSEWHERE_16, _ELSEWHERE_32, _ELSEWHERE_32)
        for value, large, instead in zip((count, size, start), numbers, elsewhere):
            _require(value in (large, instead), 'its end records do not fit together')
        count, size, start = numbers
    _require(start + size == ends, 'its table of contents is not where its end record says')
    return start, size, count, comment


def _sizes(extra: bytes, unpacked: int, packed: int, header: int) -> list[int]:
    """The numbers of an entry; those that do not fit come from its extra field for large files."""
    numbers = [unpacked, packed, header]
    missing = [index for index, number in enumerate(numbers) if number == _ELSEWHERE_32]
    at, found = 0, False
    while at < len(extra):
        kind, size = struct.unpack_from('<2H', extra, at)
        at += 4
        _require(at + size <= len(extra), 'an extra field is damaged')
        if kind == 1:
            _require(not found and size == 8 * len(missing), 'an extra field is damaged')
            found = True
            for index, number in zip(missing, struct.unpack_from(f'<{len(missing)}Q', extra, at)):
                numbers[index] = number
        at += size
    _require(found or not missing, 'an extra field is missing')
    _require(_ELSEWHERE_32 not in numbers and max(numbers) < 1 << 62, 'its parts are larger than the file')
    return numbers


def _data(file: BinaryIO, header: int, name: bytes, flags: int, size: int, shown: str) -> int:
    """The offset of a part's content, after its local header, which must agree with its entry."""
    file.seek(header)
    signature, local_flags, method, packed, unpacked, named, extra = _LOCAL.unpack(file.read(_LOCAL.size))
    allowed = {size, _ELSEWHERE_32} | ({0} if flags & _SIZES_FOLLOW else set())
    _require(
        signature == b'PK\3\4'
        and (local_flags, method) == (flags, zipfile.ZIP_STORED)
        and {packed, unpacked} <= allowed
        and file.read(named) == name,
        f'{shown} is another file in its own header than in the table of contents',
    )
    return header + _LOCAL.size + named + extra


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise zipfile.BadZipFile(otherwise)
