"""A hash in an .onnx file of the file itself, so that a flipped bit does not give other scores without a word.

Protocol buffers that stand one after another in a file are one message, in which repeated fields are appended. So the
hash is one more entry of ``metadata_props`` behind everything that it is of, and readers that do not know it see just
that.
"""

import hashlib
from pathlib import Path

_KEY = b'mmdensenet_sha256'
_DIGITS = 64
_ENTRY = b'\x0a' + bytes([len(_KEY)]) + _KEY + b'\x12' + bytes([_DIGITS])  # key, field 1, and value, field 2
_HEAD = b'\x72' + bytes([len(_ENTRY) + _DIGITS]) + _ENTRY  # metadata_props, field 14 of a model


def append_hash(file: Path) -> None:
    """Append the SHA-256 of the file so far."""
    digest = _sha256(file.read_bytes())
    with file.open('ab') as stream:
        stream.write(_HEAD + digest)


def is_as_written(file: Path) -> bool:
    """False for a file whose content is another than that of its hash; True for one without a hash at its end."""
    content = file.read_bytes()
    end = len(content) - len(_HEAD) - _DIGITS
    if end < 0 or content[end:-_DIGITS] != _HEAD:
        return True
    return _sha256(memoryview(content)[:end]) == content[-_DIGITS:]


def _sha256(content) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()
