"""All that a borrowed GPU is wanted for, in slices that each write their results at once. ``make gpu-session``.

    python -m benchmarks.gpu_session --list
    python -m benchmarks.gpu_session --slices tests bench --seconds 540
    python -m benchmarks.gpu_session --dry      # small sizes, in Triton's interpreter where there is no GPU

A slice is a few commands, each with its own limit. What a command prints goes to FOLDER/NAME.log, and how it ended to
FOLDER/state.json; the next call goes on with what is not in there. A command that fails or takes too long ends itself
alone: the next one runs. One that the session's own end cut short runs again next time.
"""

import argparse
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from .machine import core_count
from .report import ROOT

SLICES = ('tests', 'sanitizer', 'bench', 'profile', 'tune', 'cifar')
CIFAR = 'configs/densenet-bc-l100-k12_1xb256-40e_cifar10-folder.py'
DIGITS = 'configs/densenet-bc-l22-k12_1xb32_digits.py'
OURS = 'mmdensenet fused channels_last'
#: not all at once at batch 256: each keeps its activations, some 20 GB, while the others take their turns
PEERS = ['mmpretrain', 'torchvision channels_last', 'timm channels_last']
MORE_PEERS = ['mmpretrain channels_last', 'timm', 'torchvision', 'timm memory_efficient channels_last']


@dataclass(frozen=True)
class Step:
    """A command of a slice, run from the repository's root; ``skip`` may say why it cannot run here."""

    slice: str
    name: str
    command: list[str]
    limit: float
    env: dict[str, str] = field(default_factory=dict)
    skip: Callable[[], str | None] = lambda: None


def main() -> None:
    args = parse()
    deadline = time.monotonic() + args.seconds
    args.folder.mkdir(parents=True, exist_ok=True)
    chosen = [step for step in steps(args.folder.resolve(), args.dry) if step.slice in args.slices]
    state = read_state(args.folder)
    if args.list:
        for step in chosen:
            how = state.get(step.name, {}).get('how', 'to do')
            print(f'{step.slice:10} {step.name:20} {step.limit:4.0f} s  {how:8}  {" ".join(step.command)}')
        return
    for step in chosen:
        if step.name in state and not args.again:
            continue
        left = deadline - time.monotonic()
        # a command that has too little time left to get anywhere waits for the next call
        if left < min(step.limit, 60) and not args.dry:
            print(f'{step.name}: {left:.0f} s left, next time', flush=True)
            break
        outcome = run(step, args.folder, min(step.limit, left), args.dry)
        print(f'{step.name}: {outcome["how"]} in {outcome["seconds"]:.0f} s {outcome.get("reason", "")}', flush=True)
        if outcome['how'] == 'too long' and left < step.limit:
            print(f'{step.name}: cut short, again next time', flush=True)
            break
        state[step.name] = outcome
        # all at once: a session may end at any time
        temporary = args.folder / 'state.json.new'
        temporary.write_text(json.dumps(state, indent=1) + '\n')
        temporary.replace(args.folder / 'state.json')


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog='python -m benchmarks.gpu_session', description=__doc__.split('\n\n')[0])
    add = parser.add_argument
    add('--slices', nargs='+', choices=SLICES, default=list(SLICES), help='in this order (all)')
    add('--seconds', type=float, default=540, help='of this call, at most (540)')
    add('--folder', type=Path, default=ROOT / 'work_dirs' / 'gpu_session', help='for logs and results')
    add('--again', action='store_true', help='also what an earlier call has done')
    add('--dry', action='store_true', help='each step on small sizes, without a GPU')
    add('--list', action='store_true', help='print the commands and how they ended, and stop')
    return parser.parse_args()


def steps(folder: Path, dry: bool) -> list[Step]:
    """All commands, the most valuable first."""
    made = [*_tests(dry), *_sanitizer(dry), *_bench(folder, dry), *_profile(folder, dry)]
    made += [*_tune(folder, dry), *_cifar(folder, dry)]
    return sorted(made, key=lambda step: SLICES.index(step.slice))


def _python(*args: str | Path) -> list[str]:
    return [sys.executable, *map(str, args)]


def _tests(dry: bool) -> Iterator[Step]:
    parallel = ['-n', '12'] if importlib.util.find_spec('xdist') and not dry else []
    options = '-q', '-m', 'not slow', '-p', 'no:cacheprovider', '--durations=10'
    for name, files in (
        ('triton', ['tests/ops/steps/triton']),
        ('cuda', ['tests/ops/test_cuda.py']),
    ):
        # one test that runs, of the interpreter's; those of cuda need a GPU and are collected
        few = ['-k', 'why_not or cuda'] if dry else []
        yield Step('tests', f'tests_{name}', _python('-m', 'pytest', *options, *parallel, *few, *files), 300)


def _sanitizer(dry: bool) -> Iterator[Step]:
    program = ['benchmarks.one_step', '--device', 'cpu' if dry else 'cuda']
    if dry:
        env = dict(TRITON_INTERPRET='1', MMDENSENET_KERNELS='triton', OMP_NUM_THREADS='1')
        yield Step('sanitizer', 'sanitizer_dry', _python('-m', *program), 120, env)
        return
    path = find_tool('compute-sanitizer', 'compute-sanitizer')
    # without torch's cache of memory an access behind a tensor is one that memcheck sees
    env = dict(PYTORCH_NO_CUDA_MEMORY_CACHING='1')
    yield Step('sanitizer', 'one_step', _python('-m', *program), 60, env)
    for tool in ('memcheck', 'racecheck'):
        command = [path or 'compute-sanitizer', '--tool', tool, '--error-exitcode', '9', *_python('-m', *program)]
        yield Step('sanitizer', tool, command, 150, env, lambda: None if path else 'compute-sanitizer is not installed')


def _bench(folder: Path, dry: bool) -> Iterator[Step]:
    if dry:
        command = _python('-m', 'benchmarks', '--device', 'cpu', '--arch', 'tiny', '--batch', 2, '--size', 32)
        command += ['--rounds', '1', '--threads', '1', '--turn-seconds', '0', '--csv', str(folder / 'dry.csv')]
        yield Step('bench', 'bench_dry', [*command, '--candidates', 'torchvision', 'mmdensenet fused'], 120)
        return

    def step(name: str, batch: int, mode: str, candidates: list[str], best: bool, limit: float) -> Step:
        command = _python('-m', 'benchmarks', '--device', 'cuda', '--only', f'121-batch{batch}-224px-{mode}-bf16')
        command += ['--csv', str(folder / 'cuda.csv'), '--rounds', '8', '--compile', *(['best'] if best else [])]
        return Step('bench', name, [*command, '--candidates', *candidates], limit)

    for batch in (256, 64, 1):
        for mode in ('train', 'eval'):
            # torch.compile takes a minute and more
            graphs = [f'{OURS}, CUDA graph', *(['timm channels_last, CUDA graph'] if batch < 256 else [])]
            yield step(f'bench_{batch}_{mode}', batch, mode, [*PEERS, OURS, *graphs], True, 240)
    for batch in (256, 64):
        yield step(f'bench_{batch}_train_more', batch, 'train', [*MORE_PEERS, OURS], False, 150)


def _profile(folder: Path, dry: bool) -> Iterator[Step]:
    command = _python('-m', 'benchmarks.profile')
    if dry:  # torch's profiler of a GPU has nothing to see
        yield Step('profile', 'profile_dry', [*command, '--help'], 60)
    else:
        command += ['--out', str(folder / 'profile.txt'), '--candidates', OURS]
        yield Step('profile', 'profile_train', [*command, '--batch', '256', '64', '1'], 120)
        yield Step('profile', 'profile_eval', [*command, '--batch', '256', '1', '--mode', 'eval'], 90)
    program = _python('-m', 'benchmarks.one_step', '--kernels', '--device', 'cpu' if dry else 'cuda')
    if dry:
        yield Step('profile', 'kernels_dry', program, 120, dict(TRITON_INTERPRET='1', OMP_NUM_THREADS='1'))
        return
    path = find_tool('ncu', 'nsight-compute')
    command = [path or 'ncu', '--clock-control', 'none', '--set', 'full', '--launch-count', '16']
    command += ['--kernel-name', 'regex:norm_relu_matmul|conv3x3|batch_norm', *program]
    yield Step('profile', 'ncu', command, 180, {}, lambda: None if path else 'ncu is not installed')


def _tune(folder: Path, dry: bool) -> Iterator[Step]:
    command = _python('-m', 'benchmarks.tune', '--out', folder / 'tiles.csv')
    table = folder / 'tiles.json'
    if dry:
        more = ['--dry', '--kernels', 'norm_relu', '--processes', '1']
        yield Step('tune', 'tune_dry', [*command, *more], 200, dict(OMP_NUM_THREADS='1'))
        yield Step('tune', 'tune_write', [*command, '--write', '--table', str(table)], 60)
        return
    yield Step('tune', 'tune', [*command, '--seconds', '230'], 290)
    yield Step('tune', 'tune_write', [*command, '--write', '--table', str(table)], 60)
    # what the steps after this one run with; the table is committed from FOLDER
    yield Step('tune', 'tune_use', [*command, '--write'], 60)
    yield Step(
        'tune',
        'tuned_profile',
        _python(
            '-m', 'benchmarks.profile', '--batch', '256', '64', '--out', folder / 'tuned.txt', '--candidates', OURS
        ),
        90,
    )


def _cifar(folder: Path, dry: bool) -> Iterator[Step]:
    work_dir = folder / 'cifar'
    if dry:
        options = ['train_cfg.max_epochs=1', 'train_dataloader.num_workers=0', 'val_dataloader.num_workers=0']
        options += ['train_dataloader.persistent_workers=False', 'val_dataloader.persistent_workers=False']
        command = _python('tools/train.py', DIGITS, '--work-dir', work_dir, '--no-validate', '--cfg-options', *options)
        yield Step('cifar', 'cifar_dry', command, 200)
        return
    data = ROOT / 'data' / 'cifar10_jpeg'

    def missing() -> str | None:
        return None if data.is_dir() else f'{data} is not there'

    workers = min(12, core_count())
    command = _python('tools/train.py', CIFAR, '--work-dir', work_dir, '--amp', '--resume', '--cfg-options')
    yield Step('cifar', 'cifar', [*command, f'train_dataloader.num_workers={workers}'], 530, {}, missing)


def find_tool(name: str, package: str) -> str | None:
    """A program of the CUDA toolkit or of NVIDIA's wheels, wherever they are installed."""
    found = shutil.which(name)
    if found:
        return found
    folders = [Path('/usr/local/cuda/bin'), *Path('/usr/local').glob('cuda-*/bin')]
    folders += [*Path('/opt/nvidia').glob(f'{package}/*'), *Path('/usr/local').glob(f'cuda*/{package}*')]
    folders += [folder / 'bin' for path in sys.path for folder in Path(path or '.').glob('nvidia/*')]
    return next((str(folder / name) for folder in folders if os.access(folder / name, os.X_OK)), None)


def run(step: Step, folder: Path, limit: float, dry: bool) -> dict:
    """Run a command into its log; how it ended: 'done', 'failed', 'too long' or 'skipped', its status and seconds."""
    try:
        reason = step.skip()
    except Exception as error:
        reason = f'{type(error).__name__}: {error}'
    if reason:
        return dict(how='skipped', seconds=0.0, reason=reason)
    env = os.environ | dict(PYTHONPATH=os.pathsep.join([str(ROOT), *filter(None, [os.environ.get('PYTHONPATH')])]))
    if not dry:
        env.pop('TRITON_INTERPRET', None)
    started = time.monotonic()
    with (folder / f'{step.name}.log').open('a') as log:
        log.write(f'$ {" ".join(step.command)}\n')
        log.flush()
        try:
            process = subprocess.Popen(
                step.command, cwd=ROOT, env=env | step.env, stdout=log, stderr=log, start_new_session=True
            )
        except OSError as error:
            return dict(how='failed', seconds=0.0, reason=str(error))
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            end(process)
            return dict(how='too long', seconds=time.monotonic() - started)
        except BaseException:
            end(process)
            raise
    outcome = dict(how='failed' if status else 'done', status=status, seconds=round(time.monotonic() - started, 1))
    if status and (last := last_line(folder / f'{step.name}.log')):
        outcome['reason'] = last
    return outcome


def end(process: subprocess.Popen) -> None:
    """End a command and what it started: training gets the time to save."""
    for number, patience in ((signal.SIGTERM, 15), (signal.SIGKILL, 5)):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience)


def last_line(file: Path) -> str:
    lines = [line.strip() for line in file.read_text(errors='replace').splitlines() if line.strip()]
    return lines[-1][:200] if lines else ''


def read_state(folder: Path) -> dict[str, dict]:
    file = folder / 'state.json'
    return json.loads(file.read_text()) if file.exists() else {}


if __name__ == '__main__':
    main()
