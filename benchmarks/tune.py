"""Search the tiles of the Triton kernels on this GPU, and write the table that the launchers choose from.

    python -m benchmarks.tune --out FILE.csv --seconds 230     # go on where a run before stopped
    python -m benchmarks.tune --out FILE.csv --write           # ops/steps/triton/tiles.json from the measurements

The tiles of all kernels compile in processes beside the one that measures. For each kernel, each tile is timed at a
few of its launches; then the fastest, and the rule's, at all of them. A tile counts only if the assembler spills
nothing and its results are the rule's, to rounding. Each launch's rows are written when it is done, and are not
measured again.
"""

import argparse
import csv
import json
import os
import statistics
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

from .machine import core_count
from .offline import compiling, resources, workers
from .report import append_rows, device_name
from .tune_cases import KERNELS, REDUCTIONS, Case, cases, launcher, tiles
from .tune_table import write_table

#: a result in another order of sums; bfloat16 keeps 8 bits
TOLERANCE = 4e-3
#: bytes of stack: the assembler spills up to a few registers to run more programs at a time
STACK = 16
#: names of the compiled functions that serve two kernels of the table
COMPILED = {
    'norm_relu_pool_matmul': 'norm_relu_matmul',
    'grad_input_pool': 'grad_input',
    'grad_weight_pool': 'grad_weight',
    'masked_sums': 'batch_norm_sums',
    'copy_with_statistics': 'statistics',
}


def main() -> None:
    args = parse()
    if args.write:
        write_table(args.out, args.table)
        return
    if args.dry:
        os.environ['TRITON_INTERPRET'] = '1'
    deadline = time.monotonic() + args.seconds
    capability = compute_capability(args.dry)
    done = measured_launches(args.out)
    todo = {name: [case for case in cases(name, args.dry) if str(case) not in done] for name in args.kernels}
    with workers(args.processes) as pool:
        compiled = {name: submit(pool, todo[name], args.dry, capability) for name in args.kernels}
        for name in args.kernels:
            try:
                tune(todo[name], compiled[name], args, deadline)
            except TimeoutError:
                print(f'{name}: out of time', flush=True)
                break
            except Exception:
                print(f'{name}: {traceback.format_exc()}', flush=True)
        pool.shutdown(wait=False, cancel_futures=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog='python -m benchmarks.tune', description=__doc__.split('\n\n')[0])
    add = parser.add_argument
    add('--out', type=Path, required=True, help='a CSV file with a row for each launch and tile')
    add('--kernels', nargs='+', choices=KERNELS, default=list(KERNELS))
    add('--seconds', type=float, default=230, help='measure no longer than that (230)')
    add('--processes', type=int, default=max(1, min(15, core_count() - 1)), help='that compile')
    add('--dry', action='store_true', help="every step of it on small sizes, in Triton's interpreter")
    add('--write', action='store_true', help='write the table from the measurements, and measure nothing')
    add('--table', type=Path, help="the table's file (mmdensenet/ops/steps/triton/tiles.json)")
    return parser.parse_args()


def compute_capability(dry: bool) -> int:
    import torch

    if dry:
        return 90
    major, minor = torch.cuda.get_device_capability()
    return 10 * major + minor


def measured_launches(file: Path) -> set[str]:
    if not file.exists():
        return set()
    with file.open(newline='') as lines:
        return {row['launch'] for row in csv.DictReader(lines)}


def submit(pool, todo: list[Case], dry: bool, capability: int) -> dict[tuple, list[tuple[dict, Future]]]:
    """Return the tiles of each group of launches, each with the future of its compilation."""
    groups = {}
    for case in todo:
        if case.group not in groups:
            found = tiles(case, dry)
            chunks = [found[i : i + 4] for i in range(0, len(found), 4)]
            futures = [pool.submit(compile_tiles, case, chunk, capability) for chunk in chunks]
            groups[case.group] = [
                (tile, future, i) for chunk, future in zip(chunks, futures) for i, tile in enumerate(chunk)
            ]
    return groups


def compile_tiles(case: Case, wanted: list[dict], capability: int) -> list[dict]:
    """Registers, stack and shared memory of a case's kernel with each of these tiles, or the error. In a worker."""
    outcomes = []
    launches = {}

    def launch(kernel, grid, *args, **meta):
        launches[kernel.__name__.removesuffix('_kernel')] = kernel.warmup(*args, grid=grid, **meta)

    with compiling(capability, launch):
        try:
            run, _ = launcher(case, 'meta')
            name, shape, rule = launch_of(case, run)
        except Exception as error:
            return [dict(error=f'{type(error).__name__}: {error}')] * len(wanted)
        for tile in wanted:
            launches.clear()
            try:
                with forced(name, shape, rule, tile):
                    run()
                outcomes.append(resources(launches[COMPILED.get(case.kernel, case.kernel)]))
            except Exception as error:
                outcomes.append(dict(error=f'{type(error).__name__}: {str(error)[:200]}'))
    return outcomes


def launch_of(case: Case, run: Callable) -> tuple[str, dict, dict]:
    """The kernel, its shape and the rule's tile, as the launcher asks the table for them."""
    from mmdensenet.ops.steps.triton import tiles as table

    found = []

    def choose(rule, chip, kernel, rows, columns, channels, size, aligned):
        shape = dict(zip(table.SHAPE, (rows, columns, channels, size, aligned)))
        found.append((kernel, dict(chip=chip) | shape, rule))
        return rule

    before, table.choose = table.choose, choose
    try:
        with table.using({}):
            run()
    finally:
        table.choose = before
    return next(launch for launch in found if launch[0] == case.kernel)


@contextmanager
def forced(kernel: str, shape: dict, rule: dict, tile: dict):
    """Launches of the kernel take this tile."""
    from mmdensenet.ops.steps.triton import tiles as table

    entry = {key: value for key, value in shape.items() if key != 'chip'} | complete(rule, tile)
    with table.using({shape['chip']: {kernel: [entry]}}):
        yield


def complete(rule: dict, tile: dict) -> dict:
    """The tile with what only the rule says: the number of programs, and of stages where there is no loop of loads."""
    more = {key: rule[key] for key in ('programs', 'num_stages') if key in rule}
    return more | tile


def tune(todo: list[Case], compiled: dict, args: argparse.Namespace, deadline: float) -> None:
    """Measure a kernel's launches and add their rows to the file."""
    for group, members in groupby(sorted(todo, key=lambda case: case.group), key=lambda case: case.group):
        members = list(members)
        usable, failed = [], 0
        for tile, future, i in compiled[group]:
            outcome = future.result(timeout=max(0.1, deadline - time.monotonic()))[i]
            if 'error' in outcome or outcome['stack'] > STACK:
                failed += 1
                if 'error' in outcome:
                    print(f'{members[0]} {tile}: {outcome["error"]}', flush=True)
            else:
                usable.append((tile, outcome))
        print(f'{members[0]}: {len(usable)} tiles, {failed} do not compile or spill', flush=True)
        members.sort(key=lambda case: case.shape[0] * case.shape[1] ** 2 * case.channels)
        few = {members[0], members[len(members) // 2], members[-1]}
        best: dict[int, int] = {}
        for case in few:
            trial = Trial(case, args.dry)
            times = [trial.time_and_error(tile, 1)[0] for tile, _ in usable]
            order = sorted(range(len(usable)), key=lambda i: times[i])
            for place, i in enumerate(order[:6]):
                best[i] = min(place, best.get(i, place))
            check(deadline)
        for case in reversed(members):
            check(deadline)
            rows = measure(case, [usable[i] for i in sorted(best, key=best.get)], args.dry)
            append_rows(rows, args.out)
            fastest = min((row for row in rows if row['usable']), key=lambda row: row['microseconds'])
            print(
                f'{case}: {rows[0]["microseconds"]:.1f} us by the rule {rows[0]["tile"]}, '
                f'{fastest["microseconds"]:.1f} with {fastest["tile"]}',
                flush=True,
            )


def check(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise TimeoutError


class Trial:
    """A launch on this device: its inputs, its results by the rule, and times with other tiles."""

    def __init__(self, case: Case, dry: bool):
        import torch

        torch.manual_seed(0)
        torch.backends.cudnn.benchmark = True
        self.device = 'cpu' if dry else 'cuda'
        self.run, self.undo = launcher(case, self.device)
        self.kernel, self.shape, self.rule = launch_of(case, self.run)
        self.expected = self.results()

    def results(self) -> list:
        self.undo()
        return [None if value is None else value.detach().clone() for value in self.run()]

    def error(self) -> float:
        """The largest relative difference of a result from the rule's."""
        pairs = zip(self.results(), self.expected, strict=True)
        return max(difference(actual, expected) for actual, expected in pairs if expected is not None)

    def time_and_error(self, tile: dict, rounds: int) -> tuple[float, float]:
        """Seconds of a launch, infinite if it fails or its results are others, and the largest relative error."""
        with forced(self.kernel, self.shape, self.rule, tile):
            try:
                error = self.error()
                # a comparison that NaN fails
                if not error <= TOLERANCE:
                    return float('inf'), error
                return seconds(self.run, rounds, self.device), error
            except Exception as failure:  # too much shared memory, or a fault of the compiler
                print(f'{self.kernel} {tile}: {type(failure).__name__}: {str(failure)[:200]}', flush=True)
                return float('inf'), float('nan')


def difference(actual, expected) -> float:
    """Relative, in the Euclidean norm."""
    wide = expected.double()
    return ((actual.double() - wide).norm() / wide.norm().clamp_min(1e-30)).item()


def seconds(run: Callable, rounds: int, device: str) -> float:
    """The median of the rounds of a launch's time on the GPU; the queue is filled while the GPU waits."""
    import torch

    if device == 'cpu':
        start = time.perf_counter()
        run()
        return time.perf_counter() - start
    start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def group(count: int) -> float:
        torch.cuda._sleep(400_000 * count)  # about 0.2 ms for each launch
        start.record()
        for _ in range(count):
            run()
        stop.record()
        torch.cuda.synchronize()
        return start.elapsed_time(stop) / 1e3 / count

    group(1)
    estimate = group(2)
    count = max(3, min(25, int(5e-3 / estimate)))
    return statistics.median(group(count) for _ in range(rounds))


def measure(case: Case, candidates: list[tuple[dict, dict]], dry: bool) -> list[dict]:
    """Rows of a launch: the rule's tile first, then each candidate, then the best with other numbers of programs."""
    trial = Trial(case, dry)
    described = dict(
        device='interpreter' if dry else device_name('cuda'),
        launch=str(case),
        kernel=trial.kernel,
        **trial.shape,
    )

    def row(tile: dict, report: dict) -> dict:
        time_, error = trial.time_and_error(tile, 3)
        tile = {key: value for key, value in tile.items() if key not in ('FIRST', 'SECOND')}
        return described | outcome(complete(trial.rule, tile), time_, error, report)

    rows = [row(trial.rule, {}), *(row(*candidate) for candidate in candidates)]
    if case.kernel in REDUCTIONS:
        order = sorted((r for r in rows if r['usable']), key=lambda r: r['microseconds'])[:3]
        for tile in [json.loads(r['tile']) for r in order]:
            others = [n for n in REDUCTIONS[case.kernel] if n != tile['programs']]
            rows += [row(tile | dict(programs=n), {}) for n in (others[:1] if dry else others)]
    if case.kernel == 'norm_relu_conv3x3':
        rows.append(described | by_cudnn(trial))
    return rows


def outcome(tile: dict | str, seconds: float, error: float, report: dict) -> dict:
    """The columns of one tile's measurement; ``report`` is the compiler's on registers, stack and shared memory."""
    usable = int(isinstance(tile, dict) and seconds < float('inf'))
    columns = dict(tile=json.dumps(tile), microseconds=seconds * 1e6, error=error, usable=usable)
    return columns | {key: report.get(key) for key in ('registers', 'stack', 'shared')}


def by_cudnn(trial: Trial) -> dict:
    """The columns of the other way: the activation written, cuDNN, and a copy with statistics."""
    from mmdensenet.ops.steps.triton import conv

    before, conv.IMPLICIT = conv.IMPLICIT, False
    try:
        error = trial.error()
        return outcome('cudnn', seconds(trial.run, 3, trial.device), error, {})
    finally:
        conv.IMPLICIT = before


if __name__ == '__main__':
    main()
