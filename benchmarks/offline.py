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
#: of one multiprocessor: bytes of shared memory, warps and programs that it holds (CUDA C++ programming guide, table
#: "Technical specifications per compute capability")
LIMITS = {
    80: (164 << 10, 64, 32),
    86: (100 << 10, 48, 16),
    89: (100 << 10, 48, 24),
    90: (228 << 10, 64, 32),
    100: (228 << 10, 64, 32),
}
REGISTERS = 65536


class Driver:
    """A stand-in for the driver, with the properties that the compiler reads."""

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
    """Launchers of ops.steps.triton call ``launch(kernel, grid, *args, **meta)``, and choose as on such a GPU.

    The process has no other driver from then on.
    """
    import triton

    from mmdensenet.ops.steps.triton import (
        common,
        conv,
        matmul,
        matmul_backward,
        matmul_grads,
        norm,
        norm_backward,
        pool,
        tiles,
    )

    replaced = dict(
        launch=launch,
        sm_count=lambda device: MULTIPROCESSORS.get(capability, 132),
        has_wgmma=lambda device: capability in (90, 100),
        chip=lambda device: f'{capability // 10}.{capability % 10}',
    )
    triton.runtime.driver.set_active(Driver(capability))
    before = []
    for module in (common, conv, matmul, matmul_backward, matmul_grads, norm, norm_backward, pool, tiles):
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


def programs_at_once(registers: int, shared: int, warps: int, capability: int) -> int:
    """How many programs a multiprocessor runs at a time, as its registers, shared memory and places allow.

    Args:
        registers: of a thread. They are given to a warp in units of 256.
        shared: bytes of a program, beside which the system keeps 1 KiB.
    """
    shared_there, warps_there, programs_there = LIMITS[capability]
    registers_of_warp = -(-registers * 32 // 256) * 256
    by_registers = REGISTERS // (registers_of_warp * warps)
    return min(by_registers, shared_there // (shared + 1024), warps_there // warps, programs_there)


def workers(processes: int) -> ProcessPoolExecutor:
    """Processes without Triton's interpreter, which is switched before Triton is imported."""
    return ProcessPoolExecutor(processes, get_context('spawn'), _switch_interpreter_off)


def _switch_interpreter_off() -> None:
    os.environ.pop('TRITON_INTERPRET', None)
