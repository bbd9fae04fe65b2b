"""Time and peak memory of jobs that take turns, each in a process of its own.

The processes do their steps one after another, in turns, so that a change in the machine's speed meets all of them.
Only a step is timed; what comes between steps (dropping gradients) is not, and inputs exist before the first one. A
GPU is waited for at both ends of a step.

Peak memory is the highest during the steps minus what the process held before the first one: the model, its inputs and
the optimiser's state are in that baseline, activations, gradients and temporaries are not. A rehearsal on a small input
comes before it, so that libraries which load when they are first used are in the baseline too. On a CPU memory is the
resident set, on a GPU what torch's allocator has given out. What a compiler needed is not counted: a compiled job's
peak begins after its compilation, and so does its baseline on a CPU.
"""

import gc
import math
import multiprocessing as mp
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from ctypes import CDLL
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

MIB = 2**20


class UnavailableError(Exception):
    """A job cannot run here; the message says why."""


@dataclass
class Workload:
    """The work of a job, in its own process: ``step`` is measured, by ``clock``; ``between`` drops what a step left, as
    gradients; ``rehearse`` is a step on a small input."""

    step: Callable[[], object]
    between: Callable[[], object] = lambda: None
    rehearse: Callable[[], object] = lambda: None
    device: str = 'cpu'
    facts: dict = field(default_factory=dict)
    clock: Callable[[], float] = time.perf_counter


@dataclass(frozen=True)
class Job:
    """A job makes a workload. It is sent to another process, so ``prepare`` is a function of a module, or a partial.

    ``env`` is set before anything is imported there.
    """

    prepare: Callable[[], Workload]
    env: dict[str, str] = field(default_factory=dict)
    compiled: bool = False


@dataclass
class Measurement:
    """Seconds of each timed step and of the first one, memory in MiB (None where the system does not tell it)."""

    facts: dict
    first_seconds: float
    warm_seconds: float
    seconds: list[float] = field(default_factory=list)
    baseline_mib: float | None = None
    peak_mib: float | None = None

    def add(self, seconds: list[float], peak_mib: float | None) -> None:
        self.seconds += seconds
        peak_mib = self.facts.get('peak_mib', peak_mib)
        if peak_mib is not None:
            self.peak_mib = max(peak_mib, self.peak_mib or 0.0)


def take_turns(
    jobs: dict[str, Job],
    rounds: int,
    threads: int,
    turn_seconds: float,
    more: Callable[[dict[str, Measurement]], dict[str, Job]] = lambda warm: {},
    tell: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True),
    one_process: bool = False,
) -> dict[str, Measurement]:
    """Run the jobs side by side.

    Args:
        rounds: turns of each job that are measured.
        threads: of each job; only one works at a time.
        turn_seconds: in each turn a job makes as many steps as fit, but one at least.
        more: gets the measurements after the warm-up and gives jobs to add.
        tell: gets a line about each job that failed; it is left out of the result.
        one_process: all in this process, one after another, instead of each in one of its own.
    """
    processes: dict[str, _Process | _Here] = {}
    results: dict[str, Measurement] = {}

    def drop(name: str, reason: str) -> None:
        tell(f'without {name}: {reason}')
        processes.pop(name).stop()
        results.pop(name, None)

    def start(new: dict[str, Job]) -> None:
        """All at once, for importing takes most of it; when all are ready, each warms up alone."""
        facts = {}
        for name, job in new.items():
            processes[name] = (_Here if one_process else _Process)(job, threads)
        for name in new:
            try:
                facts[name] = processes[name].receive()
            except _FailedError as error:
                drop(name, str(error))
        for name in facts:
            try:
                first, last, baseline = processes[name].ask('warm up')
                results[name] = Measurement(facts[name], first, last, baseline_mib=baseline)
            except _FailedError as error:
                drop(name, str(error))

    try:
        start(jobs)
        start(more(results))
        for _ in range(rounds):
            for name in list(results):
                steps = min(200, max(1, math.floor(turn_seconds / results[name].warm_seconds)))
                try:
                    results[name].add(*processes[name].ask(steps))
                except _FailedError as error:
                    drop(name, str(error))
    finally:
        for process in processes.values():
            process.stop()
    return results


class _FailedError(Exception):
    pass


class _Process:
    """The parent's end of a job's process."""

    def __init__(self, job: Job, threads: int):
        context = mp.get_context('spawn')
        self.connection, there = context.Pipe()
        self.process = context.Process(target=_work, args=(there, job, threads))
        self.process.start()
        there.close()

    def ask(self, request: str | int) -> object:
        try:
            self.connection.send(request)
        except OSError:
            raise _FailedError('its process ended') from None
        return self.receive()

    def receive(self) -> object:
        try:
            failed, answer = self.connection.recv()
        except (EOFError, OSError):
            raise _FailedError('its process ended; is there enough memory?') from None
        if failed:
            raise _FailedError(answer)
        return answer

    def stop(self) -> None:
        self.connection.close()
        self.process.join(10)
        if self.process.is_alive():
            self.process.kill()


def _work(connection: Connection, job: Job, threads: int) -> None:
    """A job's process: facts, then an answer to each request, until the parent closes the connection."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops, and closes the connection
    names = ('OMP_NUM_THREADS', 'MKL_NUM_THREADS')
    os.environ.update(dict.fromkeys(names, str(threads)) | job.env)
    with suppress(EOFError, BrokenPipeError):
        try:
            worker = _Worker(job, threads)
            connection.send((False, worker.facts))
            while True:
                connection.send((False, worker.answer(connection.recv())))
        except (EOFError, BrokenPipeError):
            raise
        except Exception as error:
            connection.send((True, _reason(error)))


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines() or ['']
    return str(error) if isinstance(error, UnavailableError) else f'{type(error).__name__}: {lines[0]}'


class _Worker:
    """Makes a job's workload and answers requests: 'warm up', or a number of steps."""

    def __init__(self, job: Job, threads: int):
        import torch

        torch.set_num_threads(threads)
        torch.manual_seed(0)
        self.job, self.workload = job, job.prepare()
        self.facts = self.workload.facts
        self.on_gpu = self.workload.device == 'cuda'
        self.synchronize = torch.cuda.synchronize if self.on_gpu else lambda: None
        self.memory = _GPUMemory() if self.on_gpu else _CPUMemory()
        if not job.compiled:  # it would be compiled for the small input, too
            self.workload.rehearse()
            self.workload.between()
        self.memory.start()

    def answer(self, request: str | int) -> tuple:
        if request == 'warm up':
            first = last = self._step()
            if first < 1 or self.job.compiled or self.on_gpu:
                self._step()
                last = self._step()
            if self.job.compiled and not self.on_gpu:
                self.workload.between()
                self.memory.start()
            answer = first, last, self.memory.baseline
        else:
            self.workload.between()
            self.memory.begin()
            if request > 1 or self.on_gpu:  # what other jobs did to caches and allocators in the meantime
                self._step()
            answer = [self._step() for _ in range(request)], self.memory.peak()
        self.workload.between()
        if self.on_gpu:
            self.memory.release()
        return answer

    def _step(self) -> float:
        self.workload.between()
        self.synchronize()
        start = self.workload.clock()
        self.workload.step()
        self.synchronize()
        return self.workload.clock() - start


class _Here:
    """A :class:`_Process` in this process: importing once saves minutes where a GPU's time is short.

    Jobs then share an allocator and its fragments; their variables of the environment must be the same.
    """

    def __init__(self, job: Job, threads: int):
        self.job, self.threads = job, threads

    def receive(self) -> object:
        return self._try(self._start)

    def ask(self, request: str | int) -> object:
        return self._try(lambda: self.worker.answer(request))

    def stop(self) -> None:
        self.worker = None

    def _start(self) -> dict:
        self.worker = _Worker(self.job, self.threads)
        return self.worker.facts

    def _try(self, work: Callable[[], object]) -> object:
        try:
            return work()
        except Exception as error:
            raise _FailedError(_reason(error)) from error


class _CPUMemory:
    """MiB of the resident set, by Linux's /proc; None elsewhere."""

    def start(self) -> None:
        gc.collect()
        with suppress(AttributeError, OSError):  # only glibc has it
            CDLL(None).malloc_trim(0)
        self.baseline = self._read('VmRSS')
        try:
            Path('/proc/self/clear_refs').write_text('5')  # the highest so far becomes what is in use now
        except OSError:
            self.baseline = None

    def begin(self) -> None:
        pass

    def peak(self) -> float | None:
        return None if self.baseline is None else self._read('VmHWM') - self.baseline

    def _read(self, field: str) -> float | None:
        with suppress(OSError):
            for line in Path('/proc/self/status').read_text().splitlines():
                if line.startswith(f'{field}:'):
                    return int(line.split()[1]) * 1024 / MIB
        return None


class _GPUMemory:
    def start(self) -> None:
        import torch

        self.cuda = torch.cuda
        gc.collect()
        self.baseline = self.cuda.memory_allocated() / MIB

    def begin(self) -> None:
        """Other jobs of this process may have allocated since the start."""
        self.cuda.reset_peak_memory_stats()
        self.before = self.cuda.memory_allocated() / MIB

    def peak(self) -> float:
        return self.cuda.max_memory_allocated() / MIB - self.before

    def release(self) -> None:
        """Leave the memory to the others; and forget the peak of the warm-up, which tries algorithms out."""
        self.cuda.empty_cache()
        self.cuda.reset_peak_memory_stats()
