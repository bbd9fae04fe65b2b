"""Images a second and core, from JPEG files to a normalised batch: the configs' pipelines beside their peers'.

    python -m benchmarks.data --quick

Read, decode, crop, flip, pack, collate and normalise, by data loaders without workers, which take turns, each in a
process of its own with one thread. What is counted is the process's CPU time (all its threads), so that other programs
disturb little. Ours keeps freed memory, as the command `mmdensenet train` does; the peers run as their own tools do,
and mmpretrain's a second time with that setting. The status is 1 when a ratio is below its target.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace

from .measure import Job, UnavailableError, Workload, take_turns
from .photographs import ROOT, write_images
from .report import RESULTS, append_rows, device_name, provenance, quartiles, text_table

CSV = RESULTS / 'data.csv'
CONFIGS = {
    'photographs': 'configs/densenet121_4xb256_in1k.py',
    'small': 'configs/densenet-bc-l40-k12_2xb64-40e_cifar10-folder.py',
}
OURS, BASELINE, KEEPING = 'mmdensenet', 'mmpretrain', 'mmpretrain, freed memory kept'
LIMIT = 'decoding alone'
CANDIDATES = (OURS, BASELINE, KEEPING, 'torchvision v2', 'timm')
KEEP_MEMORY = (OURS, KEEPING, LIMIT)
#: the least ratio of our rate to the baseline's
TARGETS = {'train': 2.0, 'test': 1.5}


def reader(candidate: str, kind: str, mode: str, folder: Path, batch: int) -> Callable[[], object]:
    """A function that makes a data loader's normalised batches, float (N, 3, H, W), each image once.

    Raises:
        UnavailableError: if a package is not installed, or has no such pipeline.
    """
    import mmdensenet  # noqa: F401  the others work beside today's torch then

    make = {'torchvision v2': _torchvision, 'timm': _timm}.get(candidate, _openmmlab)
    try:
        loader, normalise = make(candidate, kind, mode, folder, batch)
    except ImportError as error:
        raise UnavailableError(str(error)) from error

    def read() -> None:
        for data in loader:  # timm's reads a batch ahead, so whole passes are timed
            normalise(data)

    return read


def loader_config(kind: str, mode: str, folder: Path, batch: int, ours: bool):
    """The config with its data loader of that mode on ``folder``; ``ours`` as our tools complete it."""
    from mmdensenet.apis.runner import open_config, prepare_data

    cfg = open_config(str(ROOT / CONFIGS[kind]))
    key = f'{mode}_dataloader'
    pipeline = cfg[key].dataset.pipeline
    cfg[key].update(batch_size=batch, num_workers=0, persistent_workers=False, drop_last=True)
    cfg[key].dataset = dict(type='CustomDataset', data_root=str(folder), pipeline=pipeline)
    if ours:
        prepare_data(cfg, key)
    else:
        cfg[key].collate_fn = dict(type='default_collate')  # as mmpretrain's tools set it
    return cfg


def _openmmlab(candidate: str, kind: str, mode: str, folder: Path, batch: int):
    from mmengine.registry import MODELS, DefaultScope
    from mmengine.runner import Runner

    from mmdensenet.training.draws import number_draws
    from mmdensenet.training.quicken import quicken

    DefaultScope.get_instance('benchmarks.data', scope_name='mmpretrain')
    cfg = loader_config(kind, mode, folder, batch, candidate == OURS)
    loader = Runner.build_dataloader(cfg[f'{mode}_dataloader'], seed=0)
    preprocessor = MODELS.build(dict(cfg.data_preprocessor, type='ClsDataPreprocessor'))
    if candidate == OURS:  # as our loops and ExactResumeHook do
        quicken(SimpleNamespace(data_preprocessor=preprocessor), loader)
        number_draws(loader, seed=0, rank=0)
    return loader, lambda data: preprocessor(data, training=mode == 'train')['inputs']


def _torchvision(candidate: str, kind: str, mode: str, folder: Path, batch: int):
    """torchvision's references for classification, with transforms.v2."""
    import torch
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    end = [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std), v2.ToPureTensor()]
    crop = [v2.RandomResizedCrop(224)] if kind == 'photographs' else [v2.RandomCrop(32, padding=4)]
    steps = [*crop, v2.RandomHorizontalFlip(0.5)]
    if mode == 'test':
        steps = [v2.Resize(256), v2.CenterCrop(224)] if kind == 'photographs' else []
    images = ImageFolder(folder, transform=v2.Compose([*steps, *end]))
    return DataLoader(images, batch, shuffle=mode == 'train', drop_last=True), lambda data: data[0]


def _timm(candidate: str, kind: str, mode: str, folder: Path, batch: int):
    """timm's data set, transforms and prefetching loader, which collates uint8 and normalises the batch."""
    import torch
    from timm.data import ImageDataset, create_loader

    if kind == 'small' and mode == 'train':
        raise UnavailableError('it has no crop with padding')
    size = 224 if kind == 'photographs' else 32
    # its own is of timm's readers and decodes with Pillow, as torchvision's
    loader = create_loader(
        ImageDataset(str(folder)),
        (3, size, size),
        batch,
        is_training=mode == 'train',
        color_jitter=0.0,
        interpolation='bilinear',
        crop_pct=224 / 256 if kind == 'photographs' else 1.0,
        num_workers=0,
        persistent_workers=False,
        device=torch.device('cpu'),
    )
    return loader, lambda data: data[0]


def prepare(candidate: str, kind: str, mode: str, folder: Path, batch: int, own_process: bool) -> Workload:
    """A pass over all images."""
    import cv2

    from mmdensenet_cli.memory import keep_freed_memory, no_garbage

    if own_process and candidate in KEEP_MEMORY:
        keep_freed_memory()
    cv2.setNumThreads(1)
    with no_garbage(keep=True) if own_process and candidate == OURS else nullcontext():  # as the command's imports
        read = decoder(folder) if candidate == LIMIT else reader(candidate, kind, mode, folder, batch)
    return Workload(read, clock=time.process_time)


def measure(jobs: dict[str, Job], rounds: int, images: int, one_process: bool) -> dict[str, list[float]]:
    """Milliseconds of CPU time per image of each candidate in each round, in which each reads all images once."""
    found = take_turns(jobs, rounds, threads=1, turn_seconds=0, one_process=one_process)
    return {name: [seconds * 1e3 / images for seconds in taken.seconds] for name, taken in found.items()}


def step_times(kind: str, mode: str, folder: Path, ours: bool, count: int, rounds: int) -> dict[str, float]:
    """The median milliseconds per image of each step of a config's pipeline, and of reading the list and collating."""
    from mmengine.registry import DATASETS, FUNCTIONS, DefaultScope

    from mmdensenet.datasets.quick_steps import quicken_steps
    from mmdensenet.datasets.uniforms import uniforms_of

    DefaultScope.get_instance('benchmarks.data', scope_name='mmpretrain')
    loader = loader_config(kind, mode, folder, count, ours)[f'{mode}_dataloader']
    dataset = DATASETS.build(loader.dataset)
    if ours:
        quicken_steps(dataset)
    collate = loader.collate_fn['type']
    collate = FUNCTIONS.get(collate) if isinstance(collate, str) else collate
    taken: dict[str, list[float]] = {}

    def timed(name: str, work: Callable, items: list) -> list:
        start = time.process_time()
        results = [work(item) for item in items]
        taken.setdefault(name, []).append((time.process_time() - start) * 1e3 / count)
        return results

    for number in range(rounds):
        items = timed('list', dataset.get_data_info, list(range(count)))
        for step in dataset.pipeline.transforms:
            with uniforms_of((number,)):
                items = timed(type(step).__name__, step, items)
        timed('collate', collate, [items])
    return {name: statistics.median(times) for name, times in taken.items()}


def decoder(folder: Path) -> Callable[[], object]:
    """Return a function that only decodes, by OpenCV's libjpeg-turbo, from bytes in memory."""
    import cv2
    import numpy as np

    contents = [np.frombuffer(file.read_bytes(), np.uint8) for file in sorted(folder.glob('*/*'))]
    return lambda: [cv2.imdecode(content, cv2.IMREAD_COLOR) for content in contents]


def run(args: argparse.Namespace, folder: Path) -> tuple[list[dict], list[str]]:
    """Rows of all measurements, and the lines that say which target is missed."""
    origin, rows, missed = provenance('cpu', 1), [], []
    for kind in args.kind:
        images = folder / kind
        size, what = write_images(kind, args.images, images)
        print(f'\n{kind}: {args.images} images of {size:,} bytes, {what}')
        for mode in args.mode:
            jobs = {
                name: Job(partial(prepare, name, kind, mode, images, args.batch, not args.one_process))
                for name in (*args.candidates, LIMIT)
            }
            taken = measure(jobs, args.rounds, args.images, args.one_process)
            rows += [
                origin
                | dict(images=kind, bytes=size, mode=mode, candidate=name, batch=args.batch, rounds=len(times))
                # lower quartile, median and upper quartile of the CPU time
                | dict(zip(('ms_q25', 'ms_median', 'ms_q75'), quartiles(times)))
                for name, times in taken.items()
            ]
            show(kind, mode, taken)
            ratios = {name: ratio(taken, name) for name in (OURS,) if {OURS, BASELINE} <= taken.keys()}
            for found in ratios.values():
                if found < TARGETS[mode]:
                    missed.append(f'{kind}, {mode}: {found:.2f} times {BASELINE}, and {TARGETS[mode]} are wanted')
            for name in (OURS, BASELINE):
                if name in taken:
                    steps = step_times(kind, mode, images, name == OURS, args.batch, args.rounds)
                    print(f'  {name}, ms: ' + ', '.join(f'{step} {ms:.3f}' for step, ms in steps.items()))
    return rows, missed


def ratio(taken: dict[str, list[float]], name: str) -> float:
    """Return the ratio to the baseline's rate: the median over the rounds, in each of which both ran."""
    return statistics.median(base / own for base, own in zip(taken[BASELINE], taken[name]))


def show(kind: str, mode: str, taken: dict[str, list[float]]) -> None:
    lines = []
    for name, times in taken.items():
        low, median, high = quartiles(times)
        times_baseline = f'{ratio(taken, name):.2f}' if BASELINE in taken else ''
        lines.append([name, f'{median:.3f}', f'{low:.3f}', f'{high:.3f}', f'{1e3 / median:.0f}', times_baseline])
    header = (f'{kind}, {mode}', 'ms', 'q25', 'q75', 'images/s/core', f'x {BASELINE}')
    print(text_table(header, lines))


def main() -> None:
    parser = argparse.ArgumentParser(prog='python -m benchmarks.data', description='Images a second and core.')
    add = parser.add_argument
    add('--quick', action='store_true', help='fewer images and rounds: under five minutes')
    add('--kind', nargs='+', choices=CONFIGS, default=list(CONFIGS))
    add('--mode', nargs='+', choices=TARGETS, default=list(TARGETS))
    add('--candidates', nargs='+', choices=CANDIDATES, default=list(CANDIDATES))
    add('--images', type=int, help='files of each kind (512; quick 128), a multiple of the batch')
    add('--batch', type=int, default=64)
    add('--rounds', type=int, help='passes over the images of each candidate (20; quick 9)')
    add('--one-process', action='store_true', help='all in this process, without a setting of its memory')
    add('--csv', type=Path, default=CSV)
    args = parser.parse_args()
    args.images = args.images or (128 if args.quick else 512)
    args.rounds = args.rounds or (9 if args.quick else 20)

    import cv2
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    print(f'{device_name("cpu")}, one thread, CPU time')
    with tempfile.TemporaryDirectory() as folder:
        rows, missed = run(args, Path(folder))
    append_rows(rows, args.csv)
    print(f'\nrows added to {args.csv}')
    if missed:
        print('Below the targets:', *missed, sep='\n  ')
        sys.exit(1)


if __name__ == '__main__':
    main()
