"""DenseNets beside each other: time and memory of a step, in one run. ``make bench`` and ``make bench-gpu``.

Each case is a table. The candidates take turns, each in a process of its own, beside two more that measure the
machine's matrix product and copy. Rows are added to a CSV file as each case ends. docs/benchmarks.md explains the
columns.
"""

import argparse
import sys
import time
from fnmatch import fnmatch
from itertools import product
from pathlib import Path

from . import machine, traffic
from .architectures import ARCHITECTURES
from .candidates import CANDIDATES, DEFAULTS
from .cases import MODES, SUITES, Case, job
from .measure import Measurement, take_turns
from .report import RESULTS, append_rows, provenance, quartiles, text_table, timing

BEST = 'best'
COMPILED = ', torch.compile'


def main() -> None:
    args = parse()
    device = args.device or machine.default_device()
    cases = choose_cases(args, device)
    names = choose_candidates(args.candidates, device)
    if args.list:
        print('\n'.join(['cases:', *(f'  {case}' for case in cases), 'candidates:', *(f'  {name}' for name in names)]))
        return
    origin = provenance(device, args.threads)
    file = args.csv or RESULTS / f'{device}.csv'
    compiled = args.compile if args.compile is not None else [BEST] if device == 'cuda' else []
    rounds = args.rounds or (10 if device == 'cuda' else 5)
    print(', '.join(f'{key} {value}' for key, value in origin.items() if value), flush=True)
    for case in cases:
        started = time.monotonic()
        rows = measure(case, names, compiled, device, rounds, args)
        if rows:
            show(case, rows)
            append_rows([origin | row for row in rows], file)
        print(f'{case}: {time.monotonic() - started:.0f} s', flush=True)
    print(f'rows added to {file}')


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog='python -m benchmarks', description=__doc__.split('\n\n')[0])
    add = parser.add_argument
    add('--device', choices=list(SUITES), help='default: a GPU if there is one')
    add('--only', nargs='+', metavar='PATTERN', help="cases of the suite, such as '121-batch16-*' (see --list)")
    add('--arch', nargs='+', choices=list(ARCHITECTURES), help='measure these instead of the suite, with:')
    add('--batch', nargs='+', type=int, default=[16], help='their batches (16)')
    add('--size', type=int, help='height and width of the images (224, or 32 for the models for CIFAR)')
    add('--mode', nargs='+', choices=MODES, default=['train'], help='training steps, evaluation or both (train)')
    add('--dtype', choices=list(machine.DTYPES), help='bf16 is autocast; default: fp32 on a CPU, bf16 on a GPU')
    add('--candidates', nargs='+', metavar='PATTERN', help="such as 'mmdensenet*' 'torchvision channels_last'")
    add(
        '--compile',
        nargs='*',
        metavar='NAME',
        help='also these candidates through torch.compile; "best" is the eager peer that was fastest in the warm-up; '
        'default: best on a GPU, none on a CPU, where it takes minutes',
    )
    add('--compile-mode', default='default', help="torch.compile's mode; reduce-overhead replays CUDA graphs (default)")
    add('--rounds', type=int, help='turns of each candidate (5 on a CPU, 10 on a GPU)')
    add('--turn-seconds', type=float, default=0.3, help='a turn has as many steps as fit, at least one (0.3)')
    add('--one-process', action='store_true', help='do not start a process for each candidate, where time is short')
    add('--threads', type=int, default=machine.core_count(), help='of each candidate (all processors)')
    add('--csv', type=Path, help='default: benchmarks/results/DEVICE.csv')
    add('--list', action='store_true', help='print cases and candidates, and stop')
    return parser.parse_args()


def choose_cases(args: argparse.Namespace, device: str) -> list[Case]:
    if not args.arch:
        cases = [c for c in SUITES[device] if not args.only or any(fnmatch(str(c), p) for p in args.only)]
        if not cases:
            sys.exit(f'no case is named {" or ".join(args.only)}; --list prints their names')
        return cases
    dtype = args.dtype or SUITES[device][0].dtype
    return [
        Case(arch, batch, args.size or (32 if ARCHITECTURES[arch].stem == 'cifar' else 224), mode, dtype)
        for arch, batch, mode in product(args.arch, args.batch, args.mode)
    ]


def choose_candidates(patterns: list[str] | None, device: str) -> list[str]:
    if not patterns:
        return DEFAULTS[device]
    unknown = [p for p in patterns if not any(fnmatch(name, p) for name in CANDIDATES)]
    if unknown:
        sys.exit(f'no candidate is named {" or ".join(unknown)}; they are:\n  ' + '\n  '.join(CANDIDATES))
    return [
        name
        for name, candidate in CANDIDATES.items()
        if device in candidate.devices and any(fnmatch(name, p) for p in patterns)
    ]


def measure(
    case: Case, names: list[str], compiled: list[str], device: str, rounds: int, args: argparse.Namespace
) -> list[dict]:
    """The case's rows, one for each candidate that ran."""
    names = [name for name in names if case.mode == 'train' or not CANDIDATES[name].memory_efficient]
    jobs = machine.jobs(device, case.dtype) | {name: job(name, case, device) for name in names}

    def compile_too(warm: dict[str, Measurement]) -> dict:
        eager = [name for name in warm if name in CANDIDATES and CANDIDATES[name].peer and not CANDIDATES[name].graph]
        best = min(eager, key=lambda name: warm[name].warm_seconds, default=None)
        chosen = [best if name == BEST else name for name in compiled]
        mode = args.compile_mode
        ending = COMPILED if mode == 'default' else f'{COMPILED} {mode}'
        return {f'{name}{ending}': job(name, case, device, compiled=mode) for name in chosen if name}

    print(f'\n{case}', flush=True)
    measured = take_turns(jobs, rounds, args.threads, args.turn_seconds, compile_too, one_process=args.one_process)
    product, copy = (measured.pop(name, None) for name in (machine.MATRIX_PRODUCT, machine.COPY))
    if product is None or copy is None:
        sys.exit('the machine itself could not be measured')
    flops = product.facts['flops'] / quartiles(product.seconds)[1]
    bandwidth = copy.facts['bytes'] / quartiles(copy.seconds)[1]
    arch, itemsize = ARCHITECTURES[case.arch], 4 if case.dtype == 'fp32' else 2

    def costs(kind: str) -> list[traffic.Cost]:
        return traffic.costs(arch, case.batch, case.size, kind, case.mode == 'train', itemsize)

    limit = traffic.least_seconds(costs('fused'), flops, bandwidth)
    rows = []
    for name, m in measured.items():
        median = quartiles(m.seconds)[1]
        moved = None if name not in CANDIDATES else traffic.total_bytes(costs(CANDIDATES[name].kind))
        rows.append(
            dict(arch=case.arch, batch=case.batch, size=case.size, mode=case.mode, dtype=case.dtype, candidate=name)
            | dict(parameters=m.facts['parameters'])
            | timing(m.seconds)
            | dict(images_per_second=case.batch / median, baseline_mib=m.baseline_mib, peak_mib=m.peak_mib)
            | dict(compile_seconds=m.first_seconds - median if COMPILED in name else None)
            | dict(model_gb=moved and moved / 1e9, gb_per_second=moved and moved / median / 1e9)
            | dict(machine_gflops=flops / 1e9, machine_gb_per_second=bandwidth / 1e9, limit_seconds=limit)
            | dict(times_limit=median / limit)
        )
    return rows


def show(case: Case, rows: list[dict]) -> None:
    """The case's table, and the ratios of each candidate of ours to each peer."""
    first = rows[0]
    print(
        f'machine: {first["machine_gflops"]:.0f} GFLOP/s ({case.dtype} matrix product), '
        f'{first["machine_gb_per_second"]:.1f} GB/s (copy); limit {first["limit_seconds"] * 1e3:.1f} ms a step'
    )
    lines = []
    for number, row in enumerate(rows, 1):
        spread = f'{row["seconds_q25"] * 1e3:.1f}-{row["seconds_q75"] * 1e3:.1f}'
        cells = [f'{row["seconds_median"] * 1e3:.1f}', spread, f'{row["images_per_second"]:.1f}']
        cells += [
            _cell(row[key], digits) for key, digits in (('peak_mib', 0), ('gb_per_second', 1), ('times_limit', 2))
        ]
        lines.append([f'{number:2} {row["candidate"]}', *cells])
    print(text_table(('candidate', 'ms/step', 'quartiles', 'img/s', 'peak MiB', 'GB/s', 'x limit'), lines))
    for row in rows:
        if row['compile_seconds'] is not None:
            print(f'{row["candidate"]}: compiled in {row["compile_seconds"]:.0f} s')
    expected = ARCHITECTURES[case.arch].parameters
    for row in rows:
        if row['parameters'] != expected:
            print(f'{row["candidate"]} has {row["parameters"] - expected:+} parameters: it is another model')
    ratios(rows)


def ratios(rows: list[dict]) -> None:
    """Print for each of our candidates the speed-up over each peer, and its share of the peer's memory."""
    numbers = {row['candidate']: number for number, row in enumerate(rows, 1)}
    ours = [row for row in rows if row['candidate'].startswith('mmdensenet')]
    peers = [row for row in rows if row not in ours]
    if not ours or not peers:
        return
    lines = []
    for peer in peers:
        cells = []
        for row in ours:
            memory = '' if not (row['peak_mib'] and peer['peak_mib']) else f'{row["peak_mib"] / peer["peak_mib"]:.2f}'
            cells.append(f'{peer["seconds_median"] / row["seconds_median"]:.2f} {memory:>5}')
        lines.append([f'{numbers[peer["candidate"]]:2} {peer["candidate"]}', *cells])
    print('speed (times) and memory (share) of ours, by number, against')
    print(text_table(('', *(f'({numbers[row["candidate"]]})' for row in ours)), lines))


def _cell(value: float | None, digits: int) -> str:
    return '' if value is None else f'{value:.{digits}f}'


if __name__ == '__main__':
    main()
