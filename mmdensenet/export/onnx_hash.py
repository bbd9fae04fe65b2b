"""A hash in an .onnx file of the file itself, so that a flipped bit does not give other scores without a word.

Protocol buffers that stand one after another in a file are one message, in which repeated fields are appended. So the
hash is one more entry of ``metadata_props`` behind everything that it is of, and readers that do not know it see just
that.
"""

from pathlib import Path

from mmdensenet.checkpoints.checkpoint_file import sha256

_KEY = b'mmdensenet_sha256'
_DIGITS = 64
_ENTRY = b'\x0a' + bytes([len(_KEY)]) + _KEY + b'\x12' + bytes([_DIGITS])  # key, field 1, and value, field 2
_HEAD = b'\x72' + bytes([len(_ENTRY) + _DIGITS]) + _ENTRY  # metadata_props, field 14 of a model


def append_hash(file: Path) -> None:
    """Append the SHA-256 of the file so far."""
    digest = sha256(file)
    with file.open('ab') as stream:
        stream.write(_HEAD + digest.encode())


def is_as_written(file: Path) -> bool:
    """False for a file whose content is another than that of its hash; True for one without a hash at its end."""
    end = file.stat().st_size - len(_HEAD) - _DIGITS
    if end < 0:
        return True
    with file.open('rb') as stream:
        stream.seek(end)
        head, digest = stream.read(len(_HEAD)), stream.read()
    return head != _HEAD or sha256(file, end).encode() == digest
