"""mmdensenet.checkpoints.zip_directory: the same parts as Python's and torch's readers see, or none."""

import io
import zipfile

import pytest
import torch

from mmdensenet.checkpoints.zip_directory import is_intact, read_directory


def stored(*names: str, compression: int = zipfile.ZIP_STORED, comment: bytes = b'') -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w', compression) as archive:
        for i, name in enumerate(names):
            archive.writestr(name, f'content {i}' * (i + 1))
        archive.comment = comment
    return file


def test_parts_are_those_of_pythons_reader():
    file = stored('a/data.pkl', 'a/data/0', comment=b'of ours')
    directory = read_directory(file)
    with zipfile.ZipFile(file) as archive:
        infos = archive.infolist()
        assert [(part.name.decode(), part.size, part.crc) for part in directory.parts] == [
            (info.filename, info.file_size, info.CRC) for info in infos
        ]
        for part, info in zip(directory.parts, infos):
            assert file.getvalue()[part.start : part.start + part.size] == archive.read(info)
    assert directory.comment == b'of ours'


def changed(local: int | None = None, entry: int | None = None, value: bytes = b'\1') -> io.BytesIO:
    """A file of two parts with other bytes at an offset of the first local header, or of the first entry."""
    content = bytearray(stored('a', 'b').getvalue())
    starts = dict(local=content.index(b'PK\3\4'), entry=content.index(b'PK\1\2'))
    for start, at in zip(starts.values(), (local, entry)):
        if at is not None:
            content[start + at : start + at + len(value)] = value
    return io.BytesIO(content)


def large(monkeypatch) -> bytes:
    """Numbers above 5 are where those stand that do not fit into 32 bits."""
    monkeypatch.setattr(zipfile, 'ZIP64_LIMIT', 5)
    content = stored('first', 'second').getvalue()
    assert b'PK\6\6' in content
    return content


def test_parts_of_a_large_file(monkeypatch):
    content = large(monkeypatch)
    parts = read_directory(io.BytesIO(content)).parts
    assert [(part.name, content[part.start : part.start + part.size]) for part in parts] == [
        (b'first', b'content 0'),
        (b'second', b'content 1content 1'),
    ]
    at = content.index(b'PK\1\2') + 46 + len('first')  # its extra field: kind 1, 16 bytes, two sizes
    assert content[at : at + 4] == b'\1\0\x10\0'
    for kind, message in ((b'\1\0\x08\0', 'extra field is damaged'), (b'\2\0', 'extra field is missing')):
        damaged = content[:at] + kind + content[at + len(kind) :]
        with pytest.raises(zipfile.BadZipFile, match=message):
            read_directory(io.BytesIO(damaged))
    record = content.index(b'PK\6\6')
    for offset in (4, 16, 20, 24, 32, 40, 48):  # its size, two disks, and four numbers of the directory
        damaged = bytearray(content)
        damaged[record + offset] ^= 1
        with pytest.raises(zipfile.BadZipFile):
            read_directory(io.BytesIO(damaged))


def test_parts_of_torch():
    file = io.BytesIO()
    torch.save(dict(a=torch.arange(1000)), file)
    parts = {part.name.rpartition(b'/')[2]: part for part in read_directory(file).parts}
    assert parts[b'0'].size == 8000 and all(is_intact(file, part) for part in parts.values())
    content = bytearray(file.getvalue())
    content[parts[b'0'].start + 7999] ^= 1
    assert not is_intact(io.BytesIO(content), parts[b'0'])
    assert not is_intact(io.BytesIO(content[: parts[b'0'].start + 10]), parts[b'0']), 'cut short'


@pytest.mark.parametrize(
    ('file', 'message'),
    [
        (io.BytesIO(b'PK'), 'cut short or not a checkpoint'),
        (stored('a', compression=zipfile.ZIP_DEFLATED), 'compressed or encrypted'),
        (stored('a/data', 'A/DATA'), 'is in it twice'),
        (io.BytesIO(stored('a').getvalue() + b'behind the end'), 'its end record is damaged'),
        (io.BytesIO(b'before the start' + stored('a').getvalue()), 'not where its end record says'),
        (changed(local=6, entry=8), 'compressed or encrypted'),
        (changed(entry=20), 'compressed or encrypted'),
        (changed(entry=8, value=b'\4'), 'another file in its own header'),
        (changed(local=8, value=b'\x08'), 'another file in its own header'),
        (changed(local=18), 'another file in its own header'),
        (changed(local=22), 'another file in its own header'),
        (changed(local=30, value=b'c'), 'another file in its own header'),
        (changed(entry=34), 'table of contents is damaged'),
        (changed(entry=46, value=b'\0'), 'no proper name'),
        (io.BytesIO(stored('a', 'b').getvalue().replace(b'PK\1\2', b'PK\1\3', 1)), 'table of contents is damaged'),
    ],
)
def test_what_readers_may_see_differently_is_refused(file, message):
    with pytest.raises(zipfile.BadZipFile, match=message):
        read_directory(file)
