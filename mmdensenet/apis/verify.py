"""Checking all images and labels of a config's data sets before a run."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.registry import DATASETS, DefaultScope
from mmengine.runner import CheckpointLoader
from mmpretrain.registry import MODELS

from mmdensenet.datasets import LoadImage
from mmdensenet.datasets.class_lists import ClassList, class_lists, require_same_classes
from mmdensenet.datasets.divide_images import require_apart
from mmdensenet.datasets.image_header import has_16_bits
from mmdensenet.datasets.labels import source_of, unlabelled_parts
from mmdensenet.datasets.load_image import read_bytes
from mmdensenet.datasets.spelling import bare_id
from mmdensenet.datasets.stated_classes import names_in, names_in_checkpoint
from mmdensenet.datasets.wrappers import leaves, sample_info, sample_labels
from mmdensenet.errors import BadImageError, UserError
from mmdensenet.training.hooks.check_tasks import require_tasks
from mmdensenet.training.launch import core_count

from .reading_processes import reading_processes
from .runner import open_config, prepare_data, require_checkpoint
from .tasks import task_names

SPLITS = ('train', 'val', 'test')

#: split, number of the data set in it, index there
Sample = tuple[str, int, int]
#: where an image is, a hash of it, why it cannot be read, and the brightest pixel of a 16-bit file
Reading = tuple[str, bytes, str | None, float | None]


@dataclass
class Report:
    """The problems of a config's data sets.

    Attributes:
        images: the number of images of each data set.
        problems: for each kind of problem its lines, for people.
    """

    images: dict[str, int] = field(default_factory=dict)
    problems: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, kind: str, line: str) -> None:
        self.problems[kind].append(line)

    @property
    def ok(self) -> bool:
        return not any(self.problems.values())


def verify_dataset(
    config: str | Config,
    checkpoint: str | None = None,
    *,
    workers: int | None = None,
    cfg_options: dict | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Read all images of the train, validation and test set of a config, in parallel, and check all labels.

    Args:
        config: path of a config file, 'mmdensenet::NAME', or a loaded config.
        checkpoint: path or URL of one whose classes are compared with those of the data sets.
        workers: processes; by default one per core. 0 reads in this process.
        cfg_options: dotted keys to values, which override the config.
        progress: called with the numbers of images read and of all images.

    Returns:
        The report: unreadable images, exact duplicates (of the file's bytes, or of the pixels where the images are in
        no file) within a split and across splits, training or validation parts without labels, classes without images,
        labels outside the head's classes, and a head that has another number of classes than the data set.

    Raises:
        UserError: if the config has no data set, or one cannot be found; if the classes of the splits or the
            checkpoint differ, for then no label can be judged; and for a label that does not fit its task, where there
            are several.
    """
    cfg = open_config(config, cfg_options)
    require_apart(cfg)
    DefaultScope.get_instance('verify_dataset', scope_name=cfg.get('default_scope') or 'mmengine')
    prepare_data(cfg, *(f'{split}_dataloader' for split in SPLITS))
    splits = _build(cfg)
    if not splits:
        raise UserError('the config has no train_dataloader, val_dataloader or test_dataloader: nothing to verify.')
    lists = [] if checkpoint is None else [_classes_of(checkpoint)]
    head = (cfg.get('model') or {}).get('head')
    tasks = MODELS.build(head) if task_names(head) else None
    for name, part in splits.items():
        key = f'{name.split(",")[0]}_dataloader'
        lists += class_lists(part, f'{key}.dataset')
        require_tasks(tasks, key, part, None if key == 'train_dataloader' else Evaluator([]))
    require_same_classes(lists)
    report = Report()
    classes = (cfg.get('model') or {}).get('head', {}).get('num_classes')
    samples, parts = [], {}
    for name, dataset in splits.items():
        parts[name] = leaves(dataset)
        if tasks is None and classes is not None and name != 'test':
            for part in unlabelled_parts(dataset):
                report.add('unlabelled', f'{name}: {source_of(part)}')
        _check_labels(report, name, dataset, parts[name], classes)
        report.images[name] = 0
        for sample in _samples(report, name, parts[name]):
            report.images[name] += 1
            samples.append(sample)
    seen: dict[bytes, list[tuple[str, str]]] = defaultdict(list)
    deep: dict[str, list[float]] = defaultdict(list)
    for done, ((name, _, _), (place, digest, reason, brightest)) in enumerate(
        zip(samples, _read_all(parts, samples, worker_count(workers, len(samples)))), 1
    ):
        if brightest is not None:
            deep[name].append(brightest)
        if reason is not None:
            report.add('unreadable', f'{name}: {place} ({reason})')
        else:
            seen[digest].append((name, place))
        if progress is not None:
            progress(done, len(samples))
    _report_duplicates(report, seen)
    _report_groups(report, parts)
    _report_depth(report, deep)
    return report


def _classes_of(checkpoint: str) -> ClassList:
    require_checkpoint(checkpoint)
    loaded = CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu', logger='silent')
    names = names_in_checkpoint(loaded.get('meta')) if isinstance(loaded, dict) else None
    if names is None:
        raise UserError(f'{checkpoint} has no names of classes (meta.dataset_meta.classes) to compare: leave it out.')
    return ClassList(checkpoint, names, is_checkpoint=True)


def _build(cfg: Config) -> dict[str, object]:
    """The data sets by split; one that two splits share is read once."""
    built, texts = {}, {}
    for split in SPLITS:
        loader = cfg.get(f'{split}_dataloader')
        if loader is None or loader.get('dataset') is None:
            continue
        text = repr(loader.dataset)
        if text in texts:
            first = texts[text]
            built[f'{first}, {split}'] = built.pop(first)
            texts[text] = f'{first}, {split}'
            continue
        built[split] = DATASETS.build(loader.dataset)
        texts[text] = split
    return built


def worker_count(workers: int | None, samples: int) -> int:
    if workers is None:
        workers = core_count()
    if workers < 0:
        raise UserError(f'workers={workers}: give 0 or more.')
    return min(workers, samples // 8)


def _samples(report: Report, name: str, parts: list) -> Iterator[Sample]:
    """Yield the samples of a split to read: every file once for each pipeline, and samples without a file."""
    known = set()
    for number, leaf in enumerate(parts):
        pipeline = repr(getattr(leaf, 'pipeline', None))
        listed: Counter[str] = Counter()
        for index in range(len(leaf)):
            path = sample_info(leaf, index).get('img_path')
            if path is not None:
                listed[path] += 1
                if listed[path] > 1 or (path, pipeline) in known:
                    continue
                known.add((path, pipeline))
            yield name, number, index
        for path, times in listed.items():
            if times > 1:
                report.add('duplicate', f'{name}: {path} is listed {times} times')


def _read_all(parts: dict[str, list], samples: list[Sample], workers: int) -> Iterator[Reading]:
    with reading_processes(workers) as spread:
        yield from spread(partial(_read, parts), samples, chunksize=max(1, min(64, len(samples) // (4 * workers or 1))))


def _read(parts: dict[str, list], sample: Sample) -> Reading:
    name, number, index = sample
    dataset = parts[name][number]
    info = sample_info(dataset, index)
    path, brightest = info.get('img_path'), None
    try:
        if path is not None:
            content, brightest = _load(dataset, info)
        else:
            image = info['img'] if 'img' in info else dataset[index]['inputs']
            image = np.ascontiguousarray(image)
            content = f'{image.shape}{image.dtype}'.encode() + image.tobytes()
    except BadImageError as error:
        return error.path or str(path), b'', error.reason or str(error), None
    except Exception as error:  # a data set's own
        return str(path or f'sample {index}'), b'', f'{type(error).__name__}: {error}', None
    return str(path or f'sample {index}'), hashlib.blake2b(content, digest_size=16).digest(), None, brightest


def _load(dataset, info: dict) -> tuple[bytes, float | None]:
    """Load an image as its data set does, with the steps of its pipeline up to the one that loads.

    Returns:
        The file's bytes, and the brightest pixel of 65535 where a file of 16 bits is loaded with its full range.
    """
    path, step = info['img_path'], None
    for step in getattr(getattr(dataset, 'pipeline', None), 'transforms', None) or [LoadImage()]:
        info = step(info)
        if info is None:
            raise BadImageError.of(path, f'the step {type(step).__name__} of its pipeline returns nothing')
        if 'img' in info:
            break
    content = read_bytes(path, getattr(step, 'file_client_args', None), getattr(step, 'backend_args', None))
    if not has_16_bits(content) or getattr(step, 'window', 'full') != 'full':
        return content, None
    brightest = float(np.max(info['img']))
    return content, (brightest + 1) * 256 - 1 if info['img'].dtype == np.uint8 else brightest * 257


def _check_labels(report: Report, name: str, dataset, parts: list, classes: int | None) -> None:
    own = names_in(getattr(dataset, 'metainfo', None))
    if own and classes is not None and len(own) != classes:
        report.add('head', f'{name}: the data set has {len(own)} classes, and model.head.num_classes is {classes}')
    total = classes if classes is not None else len(own or ())
    count: Counter[int] = Counter()
    labelled = False
    for leaf in parts:
        named = len(names_in(getattr(leaf, 'metainfo', None)) or ()) or total
        limit = min(total or named, named)
        for index in range(len(leaf)):
            labels = sample_labels(leaf, index)
            if labels is None:  # a data set without labels, or of several tasks
                break
            count.update(labels)
            labelled = True
            for label in labels:
                if limit and not 0 <= label < limit:
                    place = sample_info(leaf, index).get('img_path', f'sample {index}')
                    report.add('label', f'{name}: {place} has label {label}, outside 0 to {limit - 1}')
    if labelled:
        for label in range(total):
            if not count[label]:
                class_name = f' ({own[label]})' if own and label < len(own) else ''
                report.add('empty', f'{name}: class {label}{class_name} has no image')


def _report_depth(report: Report, deep: dict[str, list[float]]) -> None:
    """Parts whose 16-bit files have the few bits of a detector, and so are much too dark."""
    for name, brightest in deep.items():
        bits = math.ceil(math.log2(max(brightest) + 1))
        if bits <= 12:
            report.add(
                'depth',
                f'{name}: no pixel of its {len(brightest)} 16-bit images is above {2**bits - 1}, so that they are '
                f'loaded {2 ** (16 - bits)} times too dark: give mmdensenet.LoadGreyImage window=(0, {2**bits - 1})',
            )


def _report_groups(report: Report, parts: dict[str, list]) -> None:
    """Patients, or what else the data sets group their samples by, that are in several splits, however spelt there."""
    seen: dict[str, dict[str, tuple[str, str]]] = defaultdict(dict)
    for name, leaves_of_split in parts.items():
        for leaf in leaves_of_split:
            for index in range(len(leaf)):
                info = sample_info(leaf, index)
                if info.get('group') not in (None, ''):
                    group, place = str(info['group']), str(info.get('img_path', f'sample {index}'))
                    seen[bare_id(group)].setdefault(name, (group, place))
    for places in seen.values():
        if len(places) > 1:
            spelt = list(dict.fromkeys(group for group, _ in places.values()))
            listed = ', '.join(f'{name}: {place}' for name, (_, place) in places.items())
            likely = ', likely one' if len(spelt) > 1 else ''
            report.add('group across splits', f'{" and ".join(spelt)}{likely}, such as {listed}')


def _report_duplicates(report: Report, seen: dict[bytes, list[tuple[str, str]]]) -> None:
    for places in seen.values():
        places = list(dict.fromkeys(places))  # read with another pipeline it is the same file
        if len(places) < 2:
            continue
        splits = {name for name, _ in places}
        kind = 'duplicate across splits' if len(splits) > 1 else 'duplicate'
        report.add(kind, ' = '.join(f'{name}: {place}' for name, place in places))
