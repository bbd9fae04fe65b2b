"""Compile Triton kernels without running them, for a GPU that need not be here, beside the process that measures.

Launchers run on meta tensors; each launch compiles. What was compiled lies in Triton's cache on disk, where the process
that measures finds it. The assembler's report tells registers, spilled bytes and shared memory.
"""

import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

#: streaming multiprocessors of a GPU of this compute capability: A100, A40, RTX 4090, H100 and H200, B200
MULTIPROCESSORS = {80: 108, 86: 84, 89: 128, 90: 132, 100: 148}


class Driver:
    """What compiling asks a driver for."""

    def __init__(self, capability: int):
        from triton.backends.compiler import GPUTarget

        self.target = GPUTarget('cuda', capability, 32)

    def get_current_target(self):
        return self.target

    def get_current_device(self) -> int:
        return self.target.arch

    def get_current_stream(self, device: int) -> int:
        return 0


@contextmanager
def compiling(capability: int, launch: Callable) -> Iterator[None]:
    """Launchers of mmdensenet.ops.triton call ``launch(kernel, grid, *args, **meta)``, and choose as on such a GPU.

    The process has no other driver from then on.
    """
    import triton

    from mmdensenet.ops.triton import common, conv, matmul, matmul_backward, norm, tiles

    replaced = dict(
        launch=launch,
        processors=lambda device: MULTIPROCESSORS.get(capability, 132),
        has_wgmma=lambda device: capability in (90, 100),
        chip=lambda device: f'{capability // 10}.{capability % 10}',
    )
    triton.runtime.driver.set_active(Driver(capability))
    before = []
    for module in (common, conv, matmul, matmul_backward, norm, tiles):
        for name, value in replaced.items():
            if hasattr(module, name):
                before.append((module, name, getattr(module, name)))
                setattr(module, name, value)
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


def resources(kernel) -> dict[str, int]:
    """Registers a thread and bytes of stack a thread, as the assembler reports them, and bytes of shared memory."""
    import triton

    with tempfile.TemporaryDirectory() as folder:
        cubin = Path(folder) / 'kernel.cubin'
        cubin.write_bytes(kernel.asm['cubin'])
        command = [triton.knobs.nvidia.cuobjdump.path, '-res-usage', cubin]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    usage = dict(re.findall(r'(REG|STACK|LOCAL):(\d+)', text))
    stack = int(usage['STACK']) + int(usage['LOCAL'])
    return dict(registers=int(usage['REG']), stack=stack, shared=kernel.metadata.shared)


def pool(processes: int) -> ProcessPoolExecutor:
    """Processes without Triton's interpreter, which is switched before Triton is imported."""
    return ProcessPoolExecutor(processes, get_context('spawn'), _switch_interpreter_off)


def _switch_interpreter_off() -> None:
    os.environ.pop('TRITON_INTERPRET', None)
