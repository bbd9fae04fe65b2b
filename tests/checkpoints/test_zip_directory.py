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
        (io.BytesIO(b'before the start' + stored('a').getvalue()), ''),
        (io.BytesIO(stored('a', 'b').getvalue().replace(b'PK\1\2', b'PK\1\3', 1)), 'table of contents is damaged'),
    ],
)
def test_what_readers_may_see_differently_is_refused(file, message):
    with pytest.raises(zipfile.BadZipFile, match=message):
        read_directory(file)
