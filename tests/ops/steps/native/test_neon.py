"""The kernels for 64-bit Arm, compiled here and run in an emulator, beside plain torch."""

import ctypes
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
import sanitize_kernels
import torch

from mmdensenet.ops.steps.native import build, library, pointers

COMPILER, EMULATOR = 'aarch64-linux-gnu-g++', 'qemu-aarch64'
DRIVER = Path(sanitize_kernels.__file__).with_name('kernels_on_files.cpp')


@pytest.fixture(scope='module')
def program(tmp_path_factory) -> Path:
    for tool in (COMPILER, EMULATOR):
        if shutil.which(tool) is None:
            pytest.skip(f'{tool} is not installed (g++-aarch64-linux-gnu, qemu-user)')
    path = tmp_path_factory.mktemp('neon') / 'kernels'
    named = ' '.join(f'NAMED({name})' for name in library.declarations())
    main = path.with_suffix('.cpp')
    main.write_text(f'#define VARIANT neon\n#include "{build.SOURCE}"\n#include "{DRIVER}"\n')
    subprocess.run(
        [
            COMPILER, *build.FLAGS, *build.VARIANTS['aarch64']['neon'], f'-I{build.FOLDER}',
            f'-DNAMED_KERNELS={named}', '-Wno-cast-function-type', '-static', str(main), '-o', str(path),
        ],
        check=True,
    )  # fmt: skip
    return path


class Emulated:
    """A kernel of the program: the memory behind its pointers goes there and back in files."""

    def __init__(self, program: Path, name: str, sizes: dict[int, int], seen: set[str]):
        self.program, self.name, self.sizes, self.seen = program, name, sizes, seen
        self.arguments = library.declarations()[name]

    def __call__(self, *arguments) -> None:
        self.seen.add(self.name)
        addresses, parts = [], [struct.pack('q', len(self.name)), self.name.encode(), struct.pack('q', len(arguments))]
        for (kind, _), value in zip(self.arguments, arguments, strict=True):
            if kind == 'float**':
                parts.append(b'l' + struct.pack('q', len(value)))
                parts += [self.memory(address, addresses) for address in value]
            elif kind.endswith('*'):
                parts.append(b'p' + self.memory(value, addresses))
            else:
                parts.append(b'd' + struct.pack('d', value) if kind == 'double' else b'i' + struct.pack('q', value))
        files = [self.program.with_name(name) for name in ('in', 'out')]
        files[0].write_bytes(b''.join(parts))
        subprocess.run([EMULATOR, self.program, *files], check=True)
        result = files[1].read_bytes()
        assert struct.unpack('q', result[:8]) == (0,)
        position = 8
        for address in addresses:
            ctypes.memmove(address, result[position : position + self.sizes[address]], self.sizes[address])
            position += self.sizes[address]
        assert position == len(result)

    def memory(self, address: int | None, addresses: list[int]) -> bytes:
        if address is None:
            return struct.pack('q', -1)
        addresses.append(address)
        return struct.pack('q', self.sizes[address]) + ctypes.string_at(address, self.sizes[address])


@pytest.mark.slow
def test_neon(program, native_kernels, monkeypatch):
    sizes: dict[int, int] = {}
    take = pointers._data_ptrs

    def noted(tensors, names, dtype):
        found = take(tensors, names, dtype)
        for address, tensor in zip(found, tensors):
            end = tensor.untyped_storage().data_ptr() + tensor.untyped_storage().nbytes()
            sizes[address] = end - address if address else 0
        return found

    monkeypatch.setattr(pointers, '_data_ptrs', noted)
    seen: set[str] = set()
    functions = library.load().functions
    for name in library.declarations():
        monkeypatch.setattr(functions, name, Emulated(program, name, sizes, seen))
    torch.set_num_threads(2)
    try:
        for seed, case in enumerate(sanitize_kernels.CASES):
            sanitize_kernels.check_steps(case, seed)
            sanitize_kernels.check_steps(case, seed, low=True)
            sanitize_kernels.check_stage(case, seed)
        for seed, (size, channels, width) in enumerate(sanitize_kernels.STEMS):
            sanitize_kernels.check_stem(size, channels, width, seed)
    finally:
        torch.set_num_threads(1)
    assert seen == set(library.declarations())
