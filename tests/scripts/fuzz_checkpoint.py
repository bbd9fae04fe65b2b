"""Read mutated checkpoints: each is read as data or refused, in bounded time and memory, and nothing runs.

    python tests/scripts/fuzz_checkpoint.py --inputs 100000

The inputs are honest and hostile files with bytes changed, cut, copied and moved, in the file as a whole or in the
pickle alone, and pickles pieced together. They are read in forked processes with limited memory; an audit hook sees
what Python does.
"""

import argparse
import contextlib
import encodings
import importlib
import io
import os
import pkgutil
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'support'))
from hostile import REFUSED, archive, saved

SECONDS, BYTES, BATCH = 5, 512 << 20, 2500
#: what reading a file may not do: Python's audit events, or their beginnings
FORBIDDEN = (
    *('os.system', 'os.exec', 'os.posix_spawn', 'os.spawn', 'os.fork', 'os.kill', 'os.remove', 'os.rename', 'os.mkdir'),
    *('subprocess', 'socket', 'shutil', 'ctypes.dlopen', 'urllib', 'import', 'exec', 'compile', 'tempfile', 'pty'),
)
#: pieces of pickles: opcodes, and names that they may or may not look up
OPCODES = b'.()[]{}0123NIJKMGXUTBCVFRbdesutaqrhjplcoiPQ\x80\x81\x82\x85\x86\x87\x88\x89\x8a\x8c\x93\x94'
NAMES = (
    *('os\nsystem', 'builtins\neval', 'builtins\ngetattr', '__builtin__\ngetattr', 'numpy\nndarray', 'numpy\ndtype'),
    *('numpy.core.multiarray\n_reconstruct', 'numpy._core.multiarray\nscalar', 'collections\nOrderedDict'),
    *('mmengine.logging.history_buffer\nHistoryBuffer', 'collections\nCounter', 'torch\nFloatStorage', 'torch\nSize'),
    *('torch._utils\n_rebuild_tensor_v2', 'torch._utils\n_rebuild_parameter', 'torch._tensor\n_rebuild_from_type_v2'),
)
PIECES = [bytes([code]) for code in OPCODES] + [f'c{name}\n'.encode() for name in NAMES]


def honest() -> list[bytes]:
    history = HistoryBuffer([1.0, 2.0], [1, 1])
    hub = dict(log_scalars=dict(loss=history), runtime_info=dict(a=np.float32(1), b=np.arange(3)), resumed_keys={})
    state = torch.nn.BatchNorm2d(2).state_dict()
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.1, momentum=0.9).state_dict()
    content = dict(meta=dict(epoch=1, iter=3, seed=0), state_dict=state, message_hub=hub, optimizer=optimizer)
    return [saved(content), saved(state), saved(state, _use_new_zipfile_serialization=False)]


def mutate(rng: random.Random, corpus: list[bytes], pickles: list[bytes]) -> bytes:
    kind = rng.random()
    if kind < 0.2:
        return change(rng, rng.choice(corpus))
    if kind < 0.3:  # the table of contents and the end records
        data = rng.choice(corpus)
        at = max(0, len(data) - rng.choice((22, 120, 600)))
        return data[:at] + change(rng, data[at:])
    if kind < 0.8:
        return archive(change(rng, rng.choice(pickles)), {'c/data/0': bytes(rng.randrange(64))})
    pieces = [
        rng.choice(PIECES) if rng.random() < 0.8 else rng.randbytes(rng.randrange(5)) for _ in range(rng.randrange(40))
    ]
    return archive(b'\x80\x02' + b''.join(pieces) + b'.')


def change(rng: random.Random, data: bytes) -> bytes:
    made = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        if not made:
            break
        at, length = rng.randrange(len(made)), min(len(made), int(rng.expovariate(0.1)))
        how = rng.randrange(6)
        if how == 0:
            made[at] = rng.randrange(256)
        elif how == 1:
            made[at] ^= 1 << rng.randrange(8)
        elif how == 2:
            del made[at : at + length]
        elif how == 3:
            made[at:at] = rng.choice(PIECES)
        elif how == 4:
            there = rng.randrange(len(made))
            made[there:there] = made[at : at + length]
        else:
            made[at : at + length] = rng.randbytes(length)
    return bytes(made)


def is_plain(value) -> bool:
    if isinstance(value, dict):
        return all(is_plain(key) and is_plain(item) for key, item in value.items())
    if isinstance(value, (list, tuple, set)):
        return all(is_plain(item) for item in value)
    kinds = (type(None), bool, int, float, complex, str, bytes, bytearray, np.ndarray, HistoryBuffer)
    return isinstance(value, (*kinds, torch.Tensor, torch.dtype, torch.device, torch.layout))


def read_batch(seed: int, inputs: int, corpus: list[bytes], pickles: list[bytes], report) -> None:
    """Read mutated files, in a process of its own."""
    from mmdensenet.checkpoints.checkpoint import load_from_file
    from mmdensenet.errors import UserError

    warnings.simplefilter('ignore')
    rng = random.Random(seed)
    file, done = 'input.pth', Counter()
    watching, seen = False, []

    def audit(event, arguments):
        if not watching:
            return
        writes = event == 'open' and (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        # torch lets a pickle encode text, for which Python looks the encoding up by its name, among its own only
        encoding = event == 'import' and str(arguments[0]).startswith('encodings.')
        if writes or (event.startswith(FORBIDDEN) and not encoding):
            seen.append((event, str(arguments)[:200]))

    def too_long(*_):
        raise SystemExit('too long')

    for module in pkgutil.iter_modules(encodings.__path__, 'encodings.'):
        with contextlib.suppress(ImportError):
            importlib.import_module(module.name)
    for data in corpus:  # what is imported when it is first needed is imported now
        with open(file, 'wb') as out:
            out.write(data)
        with contextlib.suppress(UserError):
            load_from_file(file, 'cpu')
    signal.signal(signal.SIGALRM, too_long)
    with open('/proc/self/statm') as out:
        taken = int(out.read().split()[0]) * os.sysconf('SC_PAGE_SIZE')
    resource.setrlimit(resource.RLIMIT_AS, (taken + BYTES, taken + BYTES))
    sys.addaudithook(audit)
    for _ in range(inputs):
        data = mutate(rng, corpus, pickles)
        with open(file, 'wb') as out:
            out.write(data)
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        watching = True
        try:
            assert is_plain(load_from_file(file, 'cpu')), 'more than plain data'
            done['read'] += 1
        except UserError as error:
            assert len(str(error)) < 1000, 'a long message'
            done['refused'] += 1
        finally:
            watching = False
            signal.setitimer(signal.ITIMER_REAL, 0)
        assert not seen, seen
    report.write(f'{done["read"]} {done["refused"]}')


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--inputs', type=int, default=100_000)
    parser.add_argument('--seed', type=int, default=None, help='by default a new one, which is printed')
    args = parser.parse_args()
    seed = args.seed if args.seed is not None else int.from_bytes(os.urandom(4), 'little')
    print(f'seed {seed}', flush=True)
    import mmdensenet.checkpoints.checkpoint  # noqa: F401

    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        corpus = [data for data in honest() + [make() for make in REFUSED.values()] if len(data) < 30_000]
    pickles = []
    for data in corpus:
        if data[:2] == b'PK':
            with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(io.BytesIO(data)) as made:
                pickles += [made.read(part) for part in made.namelist() if part.endswith('data.pkl')]
    home, begun, done = os.getcwd(), time.monotonic(), Counter()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        while (number := sum(done.values())) < args.inputs:
            pid = os.fork()
            if pid == 0:
                status = 1
                try:
                    with open('report', 'w') as report:
                        read_batch(seed + number, min(BATCH, args.inputs - number), corpus, pickles, report)
                    status = 0
                except BaseException:
                    traceback.print_exc()
                finally:
                    os._exit(status)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            if status or os.path.exists('RAN'):
                kept = os.path.join(home, 'fuzz_failure.pth')
                os.replace('input.pth', kept)
                print(f'status {status} with seed {seed + number}; the input is in {kept}')
                os.chdir(home)
                return 1
            with open('report') as report:
                read, refused = map(int, report.read().split())
            done.update(read=read, refused=refused)
        os.chdir(home)
    print(f'{done["read"]} read as data, {done["refused"]} refused, in {time.monotonic() - begun:.0f} s')
    return 0


if __name__ == '__main__':
    sys.exit(main())
