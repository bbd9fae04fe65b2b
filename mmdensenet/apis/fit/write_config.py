"""Step 3: a leaf config with the measured values and a comment for each choice."""

import math
import os
from dataclasses import dataclass, replace

import numpy as np
import torch
from mmengine.config import Config

from mmdensenet.analysis.stage_costs import predict_memory
from mmdensenet.errors import UserError
from mmdensenet.training.launch import core_count
from mmdensenet.training.memory import available_bytes, largest_power_of_two

from .config_text import Choices, config_text
from .image_reading import Reading, choose_reading
from .look import Look
from .network import Network, choose_network, smaller
from .schedule_length import SAVE, WRITE, Cost, Length, seconds_of_loading, seconds_per_image, training_length

#: negatives for each positive, or images of the largest class for each of the smallest, from which on the loss weighs
IMBALANCE = 5
LARGEST_WEIGHT = 20.0
BATCH = 32
#: learning rates for that batch, begun anew and from weights: of SGD, for networks with batch norm, and of AdamW
RATES_SGD, RATES_ADAMW = (0.05, 0.01), (5e-4, 2e-4)
#: fewer epochs than this in the minutes that are given, and a smaller network is taken
FEWEST_EPOCHS = 8


@dataclass
class Plan:
    """What the config is written from, and what is printed of it."""

    text: str
    lines: list[str]
    seconds: float
    side: int
    pretrained: bool


def write_config(
    look: Look,
    columns: dict[str, list[str]],
    *,
    samples_file: str,
    config_file: str,
    minutes: float | None = None,
    weights: str | None = None,
    network: str | None = None,
    title: str = '',
) -> Plan:
    """The text of the config.

    Args:
        columns: the parts, as :func:`mmdensenet.apis.fit.divide.divide` gives them. Of folds the first is
            written, and what others have of their own in ``folds``.
        samples_file: with the labels and the parts, as written.
        minutes: for everything; without, the schedule is from the number of images.
        weights, network: see :func:`mmdensenet.apis.fit.network.choose_network`.

    Raises:
        UserError: for weights that cannot be had, and images that no setting reads alike.
    """
    pictures = look.pictures
    split_column = next(iter(columns))
    parts = np.array(columns[split_column])
    train = np.flatnonzero(parts == 'train')
    val = int((parts == 'val').sum())
    reading = choose_reading([pictures[i] for i in train], pictures)
    short = int(np.median([min(pictures[i]['size']) for i in train]))
    chosen = choose_network(short, weights, network)
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')

    loss_weights, why_weights = _loss_weights(look, train)
    named = dict(samples_file=samples_file, config_file=config_file, split_column=split_column, title=title)

    def measured(network: Network) -> Choices:
        optimizer = dict(type='SGD', lr=0.01, momentum=0.9) if network.batch_norm else dict(type='AdamW', lr=0.001)
        cfg = Config(dict(model=_model(network, reading, look), optim_wrapper=dict(optimizer=optimizer)))
        shape = (reading.channels, network.side, network.side)
        batch = _batch_size(cfg, shape, device, len(train))
        step, size = seconds_per_image(cfg, shape, batch)
        choices = Choices(
            look=look,
            network=network,
            reading=reading,
            length=Length(1, 1, step, 0.0),  # until loading is measured, too
            images=len(train),
            batch=batch,
            why_batch=_why_batch(batch, len(train)),
            # few images are read faster by the process that trains than by others beside it
            workers=0 if len(look.samples) < 2000 and network.side <= 96 else min(4, core_count()),
            loss_weights=loss_weights,
            why_weights=why_weights,
            rate=_rate(network, batch),
            minutes=minutes,
            folds=_of_folds(look, columns) if len(columns) > 1 else {},
        )
        pipeline = Config.fromstring(config_text(choices, **named), '.py').train_pipeline
        files = [os.path.join(look.samples.root, look.samples.files[i]) for i in train]
        cost = Cost(step, batch, seconds_of_loading(pipeline, files, choices.workers), SAVE + size / WRITE)
        return replace(choices, length=training_length(len(train), val, cost, network.pretrained, minutes))

    choices = measured(chosen)
    if choices.length.epochs < FEWEST_EPOCHS and minutes is not None:
        found = smaller(chosen, choices.length.epochs, minutes)
        if found is not None:
            chosen, choices = found, measured(found)
    length, batch = choices.length, choices.batch
    text = config_text(choices, **named)
    where = 'the GPU' if device.type == 'cuda' else f'{core_count()} CPU cores'
    lines = [
        chosen.why[0],
        chosen.why[1] if not chosen.pretrained else f'weights: {chosen.load_from}',
        reading.why,
        f'{length.described} of {len(train)} images in batches of {batch}',
        f'training will take about {describe_seconds(length.expected)} on {where} '
        f'({1000 * length.per_image:.1f} ms for an image)',
    ]
    return Plan(text, lines, length.expected, chosen.side, chosen.pretrained)


def describe_seconds(seconds: float) -> str:
    if seconds < 90:
        whole = max(1, round(seconds))
        return f'{whole} second{"s" if whole > 1 else ""}'
    if seconds < 5400:
        return f'{round(seconds / 60)} minutes'
    return f'{seconds / 3600:.1f} hours'


def _batch_size(cfg: Config, shape: tuple[int, int, int], device: torch.device, images: int) -> int:
    """32, or fewer where the memory model says that they do not fit or there are few images."""
    wanted = _wanted_batch(images)
    step = predict_memory(cfg, shape, 'reference')
    fits = step.largest_batch(available_bytes(device), device)
    if fits >= wanted:
        return wanted
    if fits < 2:
        raise UserError('there is not enough memory for two images of a training step: close other programs.')
    return max(2, largest_power_of_two(fits, wanted + 1))


def _wanted_batch(images: int) -> int:
    wanted = BATCH
    while wanted > 8 and images / wanted < 10:
        wanted //= 2
    return wanted


def _rate(network: Network, batch: int) -> float:
    """In proportion to the batch for SGD (arXiv:1706.02677), to its root for AdamW (arXiv:2205.10287)."""
    if network.batch_norm:
        return RATES_SGD[network.pretrained] * batch / BATCH
    return RATES_ADAMW[network.pretrained] * math.sqrt(batch / BATCH)


def _why_batch(batch: int, images: int) -> str:
    if batch != _wanted_batch(images):
        return 'as the memory model allows'
    return 'they fit into the memory' if batch == BATCH else f'fewer than {BATCH}, for ten steps an epoch'


def _model(network: Network, reading: Reading, look: Look) -> dict:
    samples = look.samples
    preprocessor = dict(
        type='ClsDataPreprocessor',
        mean=reading.mean,
        std=reading.std,
        to_rgb=reading.channels == 3,
        num_classes=len(samples.classes),
    )
    if samples.multi_label:
        head = dict(type='MultiLabelLinearClsHead', loss=dict(type='mmdensenet.MaskedBCELoss'))
    else:
        head = dict(type='LinearClsHead', loss=dict(type='CrossEntropyLoss', loss_weight=1.0))
    return dict(
        type='ImageClassifier',
        data_preprocessor=preprocessor,
        backbone=dict(network.backbone, in_channels=reading.channels),
        neck=dict(network.neck),
        head=dict(head, num_classes=len(samples.classes), in_channels=network.features),
    )


def _loss_weights(look: Look, train: np.ndarray) -> tuple[dict[str, list[float]], str]:
    """The loss's weights, as an argument, or none, and why."""
    samples = look.samples
    positive = samples.onehot[train].sum(0)
    if samples.multi_label:
        known = (samples.targets[train] >= 0).sum(0)
        ratio = [(k - p) / p if p else 1.0 for p, k in zip(positive, known)]
        most = max(ratio)
        if most <= IMBALANCE:
            return {}, f'at most {most:.1f} images without a label for each with it: no pos_weight'
        values = [round(float(min(r, LARGEST_WEIGHT)), 2) if r > IMBALANCE else 1.0 for r in ratio]
        return dict(pos_weight=values), f'images without a label for each with it, where more than {IMBALANCE}'
    there = positive[positive > 0]
    fewest, most = there.min(), there.max()
    many = f'{fewest} images of each class' if fewest == most else f'{fewest} to {most} images of each class'
    if most <= IMBALANCE * fewest:
        return {}, f'{many}: no class_weight'
    values = [round(float(min(there.mean() / p, LARGEST_WEIGHT)), 3) if p else 0.0 for p in positive]
    return dict(class_weight=values), f'{many}: inverse frequencies'


def _of_folds(look: Look, columns: dict[str, list[str]]) -> dict[str, dict]:
    """What each fold has of its own: images that it holds out have no part in what it is trained with."""
    found, weights = {}, {}
    for column, parts in columns.items():
        train = np.flatnonzero(np.array(parts) == 'train')
        reading = choose_reading([look.pictures[i] for i in train], look.pictures)
        found[column] = dict(data_preprocessor=dict(mean=reading.mean, std=reading.std))
        weights[column], _ = _loss_weights(look, train)
    for name in sorted({name for of_fold in weights.values() for name in of_fold}):
        for column, of_fold in weights.items():
            found[column]['model'] = dict(head=dict(loss={name: of_fold.get(name)}))
    return found
