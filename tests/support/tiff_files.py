"""TIFF files of any kind, written without a library."""

import struct

BITS, PHOTOMETRIC, SAMPLES, PLANES, EXTRA, FORMAT = 258, 262, 277, 284, 338, 339


def tiff(data, bits, samples=1, photometric=1, more=None, big=False, pages=1, shape=(6, 8)):
    """A TIFF without compression, whose pages are all of ``data``."""
    tags = {
        256: (4, [shape[1]]), 257: (4, [shape[0]]), BITS: (3, [bits] * samples), 259: (3, [1]),
        PHOTOMETRIC: (3, [photometric]), 273: (4, [16]), SAMPLES: (3, [samples]), 278: (4, [shape[0]]),
        279: (4, [len(data)]), **{tag: (3, list(values)) for tag, values in (more or {}).items()},
    }  # fmt: skip
    if (more or {}).get(PLANES) == [2]:  # a strip for each channel
        size = len(data) // samples
        tags[273], tags[279] = (4, [16 + size * i for i in range(samples)]), (4, [size] * samples)
    number, width, head = ('<Q', 8, '<HHQ') if big else ('<L', 4, '<HHL')
    count = '<Q' if big else '<H'
    start = 16 + len(data) + len(data) % 2
    body, at = b'', start
    for page in range(pages):
        where = at + struct.calcsize(count) + len(tags) * (4 + 2 * width) + width
        entries, beyond = b'', b''
        for tag in sorted(tags):
            kind, values = tags[tag]
            packed = struct.pack(f'<{len(values)}{"H" if kind == 3 else "L"}', *values)
            if len(packed) > width:
                packed, beyond = struct.pack(number, where + len(beyond)), beyond + packed
            entries += struct.pack(head, tag, kind, len(values)) + packed.ljust(width, b'\0')
        at = where + len(beyond)
        body += struct.pack(count, len(tags)) + entries
        body += struct.pack(number, at if page + 1 < pages else 0) + beyond
    first = struct.pack('<2sHHHQ', b'II', 43, 8, 0, start) if big else struct.pack('<2sHL8x', b'II', 42, start)
    return first + data.ljust(start - 16, b'\0') + body


def packed(values, bits):
    """Rows of numbers of so many bits each."""
    rows = []
    for row in values.tolist():
        text = ''.join(f'{value:0{bits}b}' for value in row)
        text += '0' * (-len(text) % 8)
        rows.append(bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8)))
    return b''.join(rows)
