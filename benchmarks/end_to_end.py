"""From files to weights: a step of `mmdensenet train` and of `mmdensenet test` beside the bare step of the same model.

    python -m benchmarks.end_to_end

Each command runs on few and on many images; the difference over the steps between is a step with reading, loading,
hooks and scores, without the start and the end of the command. The bare step repeats one batch that is in memory and
normalised, with the same model, optimiser, threads and memory settings. All take turns. Wall time shows what workers
give, CPU time of all threads and processes what they cost.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from .machine import core_count
from .photographs import CLASSES, write_images
from .report import RESULTS, append_rows, provenance, text_table

CSV = RESULTS / 'end_to_end.csv'
#: the most that a command's step may take, in bare steps
TARGETS = {'train': 1.05, 'test': 1.1}
BARE = 'bare step'


@dataclass(frozen=True)
class Case:
    """``steps`` are those that few images make, and those that many do."""

    config: str
    images: str
    batch: dict[str, int]
    steps: dict[str, tuple[int, int]]
    options: tuple[str, ...] = ()


CASES = {
    'BC-40-12': Case(
        'mmdensenet::densenet-bc-l40-k12_1xb64_cifar10-folder',
        'small',
        dict(train=64, test=50),
        dict(train=(10, 90), test=(10, 410)),
    ),
    '121': Case(
        'mmdensenet::densenet121_1xb32_folder',
        'photographs',
        dict(train=16, test=16),
        dict(train=(2, 22), test=(5, 55)),
        ('load_from=None',),
    ),
}


def options(case: Case, mode: str, folder: Path, steps: int, workers: int) -> list[str]:
    """Return the values of the command's ``--cfg-options`` for so many steps on the images of ``folder``."""
    loader = f'{mode}_dataloader'
    settings = [
        f'{loader}.dataset.data_root={folder}',
        f'{loader}.dataset.data_prefix=',
        f'{loader}.dataset.indices={steps * case.batch[mode]}',
        f'{loader}.batch_size={case.batch[mode]}',
        f'{loader}.num_workers={workers}',
        f'model.head.num_classes={CLASSES}',
        f'data_preprocessor.num_classes={CLASSES}',
        'default_hooks.checkpoint.interval=-1',
        'randomness.seed=0',
        *case.options,
    ]
    return [*settings, 'train_cfg.max_epochs=1'] if mode == 'train' else settings


def command(case: Case, mode: str, folder: Path, steps: int, workers: int, weights: Path) -> list[str]:
    arguments = [case.config, *([str(weights)] if mode == 'test' else []), '--work-dir', f'{folder}_work_dir']
    arguments += ['--no-validate'] if mode == 'train' else []
    chosen = ['--cfg-options', *options(case, mode, folder, steps, workers)]
    return [sys.executable, '-m', 'mmdensenet', mode, *arguments, *chosen]


def output(words: list[str], threads: int) -> str:
    env = os.environ | dict.fromkeys(('OMP_NUM_THREADS', 'MKL_NUM_THREADS'), str(threads))
    done = subprocess.run(words, env=env, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f'{" ".join(words)} ended with {done.returncode}\n{done.stderr[-2000:]}')
    return done.stdout


def seconds(words: list[str], threads: int) -> tuple[float, float]:
    """Wall time of a process, and CPU time of it and its children."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    output(words, threads)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def whole(case: Case, mode: str, folder: Path, workers: int, weights: Path, threads: int) -> tuple[float, float]:
    """Seconds of one step of the command: wall, CPU."""
    few, many = case.steps[mode]
    short = seconds(command(case, mode, folder, few, workers, weights), threads)
    long = seconds(command(case, mode, folder, many, workers, weights), threads)
    return tuple((b - a) / (many - few) for a, b in zip(short, long))


def bare(name: str, mode: str, folder: Path, threads: int) -> tuple[float, float]:
    """Measure the bare step in a process of its own; seconds: wall, CPU."""
    words = [sys.executable, '-m', 'benchmarks.end_to_end', '--bare', name, '--mode', mode]
    return tuple(json.loads(output([*words, '--folder', str(folder)], threads).splitlines()[-1]))


def run_bare(case: Case, mode: str, folder: Path) -> None:
    """Print wall and CPU seconds of a step."""
    from mmdensenet_cli.memory import keep_freed_memory
    from mmdensenet_cli.threads import wait_briefly

    keep_freed_memory()
    wait_briefly()
    import torch

    from mmdensenet.apis.runner import build_runner, open_config, prepare_data

    few, many = case.steps[mode]
    pairs = [option.partition('=')[::2] for option in options(case, mode, folder, few, 0)]
    values = {key: None if text == 'None' else int(text) if text.lstrip('-').isdigit() else text for key, text in pairs}
    cfg = open_config(case.config, values)
    cfg.work_dir = f'{folder}_work_dir'
    for other in {'train', 'val', 'test'} - {mode}:
        for part in ('cfg', 'dataloader', 'evaluator'):
            cfg[f'{other}_{part}'] = None
    if mode == 'test':
        cfg.optim_wrapper = cfg.param_scheduler = None
    prepare_data(cfg, f'{mode}_dataloader')
    runner = build_runner(cfg)
    loader = runner.build_dataloader(getattr(runner, f'_{mode}_dataloader'))
    model = runner.model
    data = model.data_preprocessor(next(iter(loader)), mode == 'train')
    if mode == 'train':
        optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        model.train()

        def step() -> None:
            with optim_wrapper.optim_context(model):
                losses = model(**data, mode='loss')
            optim_wrapper.update_params(model.parse_losses(losses)[0])
    else:
        model.eval()

        def step() -> None:
            with torch.no_grad():
                model(**data, mode='predict')

    for _ in range(few):
        step()
    start = time.perf_counter(), time.process_time()
    for _ in range(many - few):
        step()
    end = time.perf_counter(), time.process_time()
    print(json.dumps([(now - then) / (many - few) for now, then in zip(end, start)]))


def write_weights(case: Case, file: Path) -> None:
    """A checkpoint to test: what a new model begins with."""
    import torch
    from mmengine.registry import MODELS, DefaultScope

    from mmdensenet.apis.runner import open_config

    DefaultScope.get_instance('benchmarks.end_to_end', scope_name='mmpretrain')
    cfg = open_config(case.config, {'model.head.num_classes': CLASSES})
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), file)


def measure(args: argparse.Namespace, folder: Path) -> list[dict]:
    origin, rows = provenance('cpu', args.threads), []
    for name in args.case:
        case, images = CASES[name], folder / name
        most = max(case.batch[mode] * case.steps[mode][1] for mode in args.mode)
        _, what = write_images(case.images, most, images)
        weights = folder / f'{name}.pth'
        write_weights(case, weights)
        print(f'{name}: {most} images, {what}', file=sys.stderr)
        for mode in args.mode:
            taken: dict[str, list[tuple[float, float]]] = {}
            for _ in range(args.rounds):
                taken.setdefault(BARE, []).append(bare(name, mode, images, args.threads))
                for workers in args.workers:
                    found = whole(case, mode, images, workers, weights, args.threads)
                    taken.setdefault(f'mmdensenet {mode}, {workers} workers', []).append(found)
            for candidate, times in taken.items():
                walls, cpus = zip(*times)
                rows.append(
                    origin
                    | dict(case=name, mode=mode, batch=case.batch[mode], candidate=candidate, rounds=len(times))
                    | dict(wall_median=statistics.median(walls), wall_min=min(walls), wall_max=max(walls))
                    | dict(cpu_median=statistics.median(cpus), cpu_min=min(cpus), cpu_max=max(cpus))
                )
    return rows


def show(rows: list[dict]) -> list[str]:
    """A table: milliseconds and ratios to the bare step. Returns a line for each mode that is over its target."""
    lines, missed = [], []
    for row in rows:
        same = [r for r in rows if (r['case'], r['mode']) == (row['case'], row['mode'])]
        base = next(r for r in same if r['candidate'] == BARE)
        ratios = [f'{row[key] / base[key]:.3f}' for key in ('wall_median', 'cpu_median')]
        spread = f'{row["wall_min"] * 1e3:.1f} to {row["wall_max"] * 1e3:.1f}'
        times = [f'{row["wall_median"] * 1e3:.1f}', spread, f'{row["cpu_median"] * 1e3:.1f}']
        lines.append([row['case'], row['mode'], row['candidate'], *times, *ratios])
        if row is same[-1]:
            best = min(r['wall_median'] / base['wall_median'] for r in same if r is not base)
            if best > TARGETS[row['mode']]:
                missed.append(
                    f'{row["case"]}, {row["mode"]}: {best:.3f} bare steps, at most {TARGETS[row["mode"]]} wanted'
                )
    print(text_table(('case', 'mode', 'candidate', 'ms', 'spread', 'CPU ms', 'x wall', 'x CPU'), lines))
    return missed


def main() -> None:
    parser = argparse.ArgumentParser(prog='python -m benchmarks.end_to_end', description='Commands beside bare steps.')
    add = parser.add_argument
    add('--case', nargs='+', choices=CASES, default=list(CASES))
    add('--mode', nargs='+', choices=TARGETS, default=list(TARGETS))
    add('--workers', nargs='+', type=int, default=[0, 2])
    add('--rounds', type=int, default=3)
    add('--threads', type=int, default=core_count())
    add('--csv', type=Path, default=CSV)
    add('--bare', choices=CASES, help=argparse.SUPPRESS)
    add('--folder', type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.bare:
        run_bare(CASES[args.bare], args.mode[0], args.folder)
        return
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(args, Path(folder))
    append_rows(rows, args.csv)
    missed = show(rows)
    print(f'rows added to {args.csv}')
    if missed:
        sys.exit('Over the targets:\n' + '\n'.join(f'  {line}' for line in missed))


if __name__ == '__main__':
    main()
