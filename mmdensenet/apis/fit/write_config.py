"""Step 3: a leaf config with the measured values and a comment for each choice."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from mmengine.config import Config

from mmdensenet.analysis.stage_costs import predict_memory
from mmdensenet.errors import UserError
from mmdensenet.training.memory import available_bytes, largest_power_of_two

from .look import Look
from .network import Network, choose_network, small_networks_below
from .pictures import Picture, cores
from .schedule_length import Length, seconds_per_image, training_length

#: negatives for each positive, or images of the largest class for each of the smallest, from which on the loss weighs
IMBALANCE = 5
LARGEST_WEIGHT = 20.0
BATCH = 32
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


@dataclass
class Reading:
    """How images are loaded: the step of the pipeline, channels, mean and standard deviation of the training part."""

    step: str
    channels: int
    mean: list[float]
    std: list[float]
    why: str


def write_config(
    look: Look,
    columns: dict[str, list[str]],
    *,
    samples_file: str,
    config_file: str,
    minutes: float | None = None,
    weights: str | None = None,
    title: str = '',
) -> Plan:
    """The text of the config.

    Args:
        columns: the parts, as :func:`mmdensenet.apis.fit.divide.divide` gives them. Of folds the first is written.
        samples_file: with the labels and the parts, as written.
        minutes: for everything; without, the schedule is from the number of images.
        weights: see :func:`mmdensenet.apis.fit.network.choose_network`.

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
    network = choose_network(short, weights)
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')

    def measured(network: Network) -> tuple[int, Length]:
        cfg = Config(dict(model=_model(network, reading, look, train), optim_wrapper=dict(optimizer=_SGD)))
        shape = (reading.channels, network.side, network.side)
        batch = _batch_size(cfg, shape, device, len(train))
        per_image = seconds_per_image(cfg, shape, batch)
        return batch, training_length(len(train), val, per_image, network.pretrained, minutes)

    batch, length = measured(network)
    if length.epochs < FEWEST_EPOCHS:
        for backbone in small_networks_below(network.backbone) if not network.pretrained else ():
            network.backbone, network.features, network.name = backbone, 69, 'DenseNet-BC (L=22, k=12)'
            network.why[0] = f'{network.name}: a larger one makes {length.epochs} epochs in {minutes:g} minutes'
            batch, length = measured(network)
    text = _text(look, network, reading, length, batch, train, samples_file, config_file, split_column, title, minutes)
    where = 'the GPU' if device.type == 'cuda' else f'{cores()} CPU cores'
    lines = [
        network.why[0],
        network.why[1] if not network.pretrained else f'weights: {network.load_from}',
        reading.why,
        f'{length.epochs} epochs of {len(train)} images in batches of {batch}',
        f'training will take about {describe_seconds(length.expected)} on {where} '
        f'({1000 * length.per_image:.1f} ms for an image)',
    ]
    return Plan(text, lines, length.expected, network.side, network.pretrained)


def describe_seconds(seconds: float) -> str:
    if seconds < 90:
        return f'{max(1, round(seconds))} seconds'
    if seconds < 5400:
        return f'{round(seconds / 60)} minutes'
    return f'{seconds / 3600:.1f} hours'


def choose_reading(train: Sequence[Picture], pictures: Sequence[Picture]) -> Reading:
    """The loading step that all images agree on; mean and deviation are of ``train``.

    Raises:
        UserError: for DICOM beside other files, or depths that would differ in brightness.
    """
    kinds = {picture['kind'] for picture in pictures}
    if 'dicom' in kinds and len(kinds) > 1:
        raise UserError('some images are DICOM and others are not: convert them to one kind, or take one kind only.')
    bits = 16  # that the files of 16 bits use
    if '16' in kinds:
        bits = math.ceil(math.log2(max(1, max(p['brightest'] for p in pictures if p['kind'] == '16')) + 1))
    if bits <= 12 and '8' in kinds:  # of a detector, in files of 16 bits
        raise UserError(
            f'some images have 8 bits and others {bits} of 16, which would be {2 ** (16 - bits)} times darker: '
            'convert them to one depth.'
        )
    is_grey = all(picture['grey'] for picture in pictures)
    if bits <= 12 and not is_grey:
        raise UserError(
            f'the files of 16 bits use {bits} of them, and some are in colour, which is read as 8 bits of 16: '
            f'{2 ** (16 - bits)} times too dark. Convert them to 8 bits.'
        )
    if not is_grey:
        grey = sum(picture['grey'] for picture in pictures)
        why = 'read in colour' + (f' ({grey} of {len(pictures)} are grey)' if grey else '')
        mean, std = _moments([p['mean'] for p in train], [p['square'] for p in train])
        return Reading("dict(type='LoadImageFromFile')", 3, mean, std, why)
    window, factor, why = "'full'", 1.0, 'read as grey, all bits of the file'
    if kinds == {'dicom'} and all(picture['windowed'] for picture in pictures):
        mean, std = _moments([p['windowed'][:1] for p in train], [p['windowed'][1:] for p in train])
        step = "dict(type='mmdensenet.LoadGreyImage', window='dicom')"
        return Reading(step, 1, mean, std, 'read as grey through the window that each DICOM file states')
    if bits <= 12:
        window, factor = f'(0, {2**bits - 1})', 65535 / (2**bits - 1)
        why = f'read as grey, {bits} bits of 16 are used'
    mean, std = _moments([[p['mean'][0] * factor] for p in train], [[p['square'][0] * factor**2] for p in train])
    return Reading(f"dict(type='mmdensenet.LoadGreyImage', window={window})", 1, mean, std, why)


def _moments(means, squares) -> tuple[list[float], list[float]]:
    """Mean and deviation of the pixels of all images, each image with the same weight."""
    mean, square = np.mean(means, axis=0), np.mean(squares, axis=0)
    std = np.sqrt(np.maximum(square - mean**2, 1.0))  # images of one value, too, are divided by something
    return [round(float(v), 2) for v in mean], [round(float(v), 2) for v in std]


_SGD = dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-4, nesterov=True)


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


def _model(network: Network, reading: Reading, look: Look, train: np.ndarray) -> dict:
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
        backbone=dict(type='mmdensenet.DenseNet', in_channels=reading.channels, **network.backbone),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(head, num_classes=len(samples.classes), in_channels=network.features),
    )


def _weights(look: Look, train: np.ndarray) -> tuple[str, str]:
    """The loss's weights, as an argument or '', and why."""
    samples = look.samples
    positive = samples.onehot[train].sum(0)
    if samples.multi_label:
        known = (samples.targets[train] >= 0).sum(0)
        ratio = [(k - p) / p if p else 1.0 for p, k in zip(positive, known)]
        most = max(ratio)
        if most <= IMBALANCE:
            return '', f'at most {most:.1f} images without a label for each with it: no pos_weight'
        values = [round(float(min(r, LARGEST_WEIGHT)), 2) if r > IMBALANCE else 1.0 for r in ratio]
        return f', pos_weight={values}', f'images without a label for each with it, where more than {IMBALANCE}'
    there = positive[positive > 0]
    if there.max() <= IMBALANCE * there.min():
        return '', f'{there.min()} to {there.max()} images of each class: no class_weight'
    values = [round(float(min(there.mean() / p, LARGEST_WEIGHT)), 3) if p else 0.0 for p in positive]
    return f', class_weight={values}', f'{there.min()} to {there.max()} images of each class: inverse frequencies'


def _text(
    look: Look,
    network: Network,
    reading: Reading,
    length: Length,
    batch: int,
    train: np.ndarray,
    samples_file: str,
    config_file: str,
    split_column: str,
    title: str,
    minutes: float | None,
) -> str:
    samples = look.samples
    side = network.side
    same_size = all(picture['size'] == [side, side] for picture in look.pictures)
    weights, why_weights = _weights(look, train)
    grey = reading.channels == 1
    resize = '' if same_size else f"    dict(type='Resize', scale=({side}, {side})),\n"
    if same_size:
        comment = f'# All images have {side}x{side} pixels.'
    else:
        comment = f'# Whole images, {side}x{side}: a crop could lose what is at the border.'
    if side >= 96:
        augment = f"    dict(type='RandomResizedCrop', scale={side}, crop_ratio_range=(0.7, 1.0)),\n"
        resize_train = ''
    else:
        augment = f"    dict(type='RandomCrop', crop_size={side}, padding={max(1, side // 8)}),\n"
        resize_train = resize
    flip = '' if grey else "    dict(type='RandomFlip', prob=0.5, direction='horizontal'),\n"
    why_flip = '# Not mirrored: in grey images left and right may mean something.\n' if grey else ''
    if samples.multi_label:
        labels = f"label_columns={samples.classes!r},\n    missing='ignore',  # labels that are not known count nowhere"
        head_type, loss = 'MultiLabelLinearClsHead', f"dict(type='mmdensenet.MaskedBCELoss'{weights})"
        extra = '        thr=0.5,\n'
        metric, best = "dict(type='mmdensenet.RankingMetric')", 'auroc/macro'
    else:
        labels = f"label_column='label',\n    classes={samples.classes!r},"
        head_type, loss = 'LinearClsHead', f"dict(type='CrossEntropyLoss', loss_weight=1.0{weights})"
        extra = '        topk=(1,),\n'
        if len(samples.classes) == 2:
            metric, best = "dict(type='mmdensenet.RankingMetric')", 'auroc/macro'
        else:
            metric = "dict(type='SingleLabelMetric', items=('precision', 'recall', 'f1-score'))"
            best = 'single-label/recall'
    test_metric = metric
    if 'Ranking' in metric:
        test_metric = "dict(type='mmdensenet.RankingMetric', bootstrap=1000, group='group')"
    # few images are read faster by the process that trains than by others beside it
    why_batch = 'they fit into the memory' if batch == _wanted_batch(len(train)) else 'as the memory model allows'
    if batch < BATCH and batch == _wanted_batch(len(train)):
        why_batch = f'fewer than {BATCH}, for ten steps an epoch'
    policies = ''
    if samples.policies or samples.multi_label:
        policies = f'label_policies = {samples.policies!r}  # what -1 and empty labels counted as for samples.csv\n'
    workers = 0 if len(samples) < 2000 and side <= 96 else min(4, cores())
    lr = 0.01 if network.pretrained else 0.05
    rate = lr * batch / BATCH
    warmup = max(1, length.epochs // 10)
    accuracy = best if best != 'single-label/recall' else 'balanced accuracy (mean recall of the classes)'
    head_first = ''
    if network.pretrained and length.epochs > 2:
        head_first = (
            '\n# The new head first, with the backbone as it was loaded; then everything.\n'
            f"custom_hooks = [dict(type='mmdensenet.HeadFirstHook', epochs={max(1, length.epochs // 10)})]\n"
        )
    schedule = f'{length.epochs} epochs: for {len(train)} images'
    if minutes is not None:
        schedule = (
            f'{length.epochs} epochs: what {minutes:g} minutes allow at {1000 * length.per_image:.1f} ms an image'
        )
    backbone = ', '.join(f'{key}={value!r}' for key, value in network.backbone.items())
    num_classes = len(samples.classes)
    return f'''"""{title or 'A model of own images'}, written by `mmdensenet fit`: to be read and changed.

Expected: see judgement.json and report.html beside this file, once the run is over.

Train:    mmdensenet train {config_file}
Test:     mmdensenet test {config_file} CHECKPOINT
"""

_base_ = 'mmdensenet::_base_/default_runtime.py'

# {network.why[0]}.
# {network.why[1]}.
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='mmdensenet.DenseNet',
        {backbone},
        in_channels={reading.channels},
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='{head_type}',
        num_classes={num_classes},
        in_channels={network.features},
        # {why_weights}
        loss={loss},
{extra}    ),
)
load_from = {network.load_from!r}

# {reading.why[0].upper()}{reading.why[1:]}. Mean and deviation are those of the training part, 0 to 255.
data_preprocessor = dict(
    num_classes={num_classes},
    mean={reading.mean},
    std={reading.std},
    to_rgb={reading.channels == 3},
)
{comment}
{why_flip}load = {reading.step}
train_pipeline = [
    load,
{resize_train}{augment}{flip}    dict(type='PackInputs'),
]
test_pipeline = [
    load,
{resize}    dict(type='PackInputs', meta_keys=('sample_idx', 'img_path', 'ori_shape', 'img_shape', 'group')),
]

# Labels and parts are in samples.csv; what belongs together is in one part.
{policies}data = dict(
    type='mmdensenet.CSVDataset',
    ann_file={samples_file!r},
    data_prefix={os.path.abspath(samples.root)!r},
    image_column='file',
    {labels}
    group_column='group',
    split_column={split_column!r},
)
# {batch} images at once: {why_batch}.
train_dataloader = dict(
    batch_size={batch},
    num_workers={workers},
    persistent_workers={workers > 0},
    dataset=dict(data, split='train', pipeline=train_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=True),
)
val_dataloader = dict(
    batch_size={2 * batch},
    num_workers={workers},
    persistent_workers={workers > 0},
    dataset=dict(data, split='val', pipeline=test_pipeline, test_mode=True),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
test_dataloader = dict(
    batch_size={2 * batch},
    num_workers={workers},
    persistent_workers={workers > 0},
    dataset=dict(data, split='test', pipeline=test_pipeline, test_mode=True),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
val_evaluator = {metric}
test_evaluator = {test_metric}

# {schedule}.
# The rate rises for {warmup} of them and falls to nearly zero along a cosine.
optim_wrapper = dict(
    optimizer=dict(type='SGD', lr={rate:g}, momentum=0.9, weight_decay=1e-4, nesterov=True),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, end={warmup}, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        begin={warmup},
        end={length.epochs},
        eta_min={rate / 1000:g},
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(by_epoch=True, max_epochs={length.epochs}, val_interval={length.val_interval})
val_cfg = dict()
test_cfg = dict()
{head_first}
# The best epoch by {accuracy} of the validation part.
default_hooks = dict(
    checkpoint=dict(
        type='mmdensenet.LatestBestCheckpointHook',  # of equally good ones the latest
        interval={length.val_interval},
        max_keep_ckpts=1,
        save_best='{best}',
        rule='greater',
    ),
    logger=dict(interval={max(1, min(50, len(train) // batch))}),
)
randomness = dict(seed=0)
'''
