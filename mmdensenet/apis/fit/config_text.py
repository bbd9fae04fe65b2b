"""The text of the config that fit writes: a leaf with the measured values and a comment for each choice."""

import keyword
import os
from dataclasses import dataclass, field

from .image_reading import Reading
from .look import Look
from .network import Network
from .schedule_length import Length


@dataclass
class Choices:
    """What was chosen for the images, the machine and the minutes.

    Attributes:
        images: of the training part.
        batch, why_batch: images at once, and the reason.
        workers: processes that load, for each part.
        loss_weights, why_weights: an argument of the loss, or none, and the reason.
        rate: the largest learning rate.
        minutes: that were given.
        folds: by column, what replaces the config's entries in each fold.
    """

    look: Look
    network: Network
    reading: Reading
    length: Length
    images: int
    batch: int
    why_batch: str
    workers: int
    loss_weights: dict[str, list[float]]
    why_weights: str
    rate: float
    minutes: float | None = None
    folds: dict[str, dict] = field(default_factory=dict)


def config_text(choices: Choices, *, samples_file: str, config_file: str, split_column: str, title: str = '') -> str:
    """A config that ``mmdensenet train`` takes and people edit; the arguments are of ``write_config``."""
    look, network, reading, length = choices.look, choices.network, choices.reading, choices.length
    samples, batch, workers, rate = look.samples, choices.batch, choices.workers, choices.rate
    side, grey = network.side, reading.channels == 1
    same_size = all(picture['size'] == [side, side] for picture in look.pictures)
    resize = f"    dict(type='Resize', scale=({side}, {side})),\n"
    if same_size:
        comment = f'# All images have {side}x{side} pixels; another one, of a prediction, gets as many.'
    else:
        comment = f'# Whole images, {side}x{side}: a crop could lose what is at the border.'
    if side >= 96:
        augment = f"    dict(type='RandomResizedCrop', scale={side}, crop_ratio_range=(0.7, 1.0)),\n"
        resize_train = ''
    else:
        augment = f"    dict(type='RandomCrop', crop_size={side}, padding={max(1, side // 8)}),\n"
        resize_train = '' if same_size else resize
    flip = '' if grey else "    dict(type='RandomFlip', prob=0.5, direction='horizontal'),\n"
    why_flip = '# Not mirrored: in grey images left and right may mean something.\n' if grey else ''
    weights = ''.join(f', {name}={values}' for name, values in choices.loss_weights.items())
    if samples.multi_label:
        labels = f"label_columns={samples.classes!r},\n    missing='ignore',  # labels that are not known count nowhere"
        head_type, loss = 'MultiLabelLinearClsHead', f"dict(type='mmdensenet.MaskedBCELoss'{weights})"
        extra = '        thr=0.5,\n'
        metric, best = "dict(type='mmdensenet.RankingMetric')", 'auroc/macro'
    else:
        labels = f"label_column='label',\n    classes={samples.classes!r},"
        head_type = 'LinearClsHead'
        loss = f"dict(type='CrossEntropyLoss', loss_weight=1.0{weights})"
        extra = '        topk=(1,),\n'
        if len(samples.classes) == 2:
            metric, best = "dict(type='mmdensenet.RankingMetric')", 'auroc/macro'
        else:
            metric = "dict(type='SingleLabelMetric', items=('precision', 'recall', 'f1-score'))"
            best = 'single-label/recall'
    test_metric = metric
    if 'Ranking' in metric:
        test_metric = "dict(type='mmdensenet.RankingMetric', bootstrap=1000, group='group')"
    folds = ''
    if choices.folds:
        folds = (
            '# Of each fold, what its own training part gives: it replaces data_preprocessor and loss here.\n'
            f'folds = {as_call(choices.folds, 0, "folds = ")}\n'
        )
    policies = ''
    if samples.policies or samples.multi_label:
        policies = f'label_policies = {samples.policies!r}  # what -1 and empty labels counted as for samples.csv\n'
    warmup = max(1, length.epochs // 10)
    accuracy = best if best != 'single-label/recall' else 'balanced accuracy (mean recall of the classes)'
    head_first = ''
    if network.pretrained and length.epochs > 2:
        head_first = (
            '\n# The new head first, with the backbone as it was loaded; then everything.\n'
            f"custom_hooks = [dict(type='mmdensenet.HeadFirstHook', epochs={max(1, length.epochs // 10)})]\n"
        )
    schedule = f'{length.described}: for {choices.images} images'
    if choices.minutes is not None:
        schedule = (
            f'{length.described}: what {choices.minutes:g} minutes allow at {1000 * length.per_image:.1f} ms an image'
        )
    why_network = '\n'.join(f'# {why}.' for why in network.why)
    backbone = as_call(dict(network.backbone, in_channels=reading.channels), 4, 'backbone=,')
    neck = as_call(network.neck, 4, 'neck=,')
    if network.batch_norm:
        optimizer = f"    optimizer=dict(type='SGD', lr={rate:g}, momentum=0.9, weight_decay=1e-4, nesterov=True),"
    else:
        optimizer = f"""    # as RDNet's authors train it; gamma, norms and biases do not decay
    optimizer=dict(type='AdamW', lr={rate:g}, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0),"""
    num_classes = len(samples.classes)
    config_file, title = config_file.replace('\\', '/'), title.replace('\\', '/').replace('"""', "''")
    whose = "fold 0's training part" if folds else 'the training part'
    return f'''"""{title or 'A model of own images'}, written by `mmdensenet fit`: to be read and changed.

Expected: see judgement.json and report.html beside this file, once the run is over.

Train:    mmdensenet train {config_file}
Test:     mmdensenet test {config_file} CHECKPOINT
"""

_base_ = 'mmdensenet::_base_/default_runtime.py'

{why_network}
model = dict(
    type='ImageClassifier',
    backbone={backbone},
    neck={neck},
    head=dict(
        type='{head_type}',
        num_classes={num_classes},
        in_channels={network.features},
        # {choices.why_weights}
        loss={loss},
{extra}    ),
)
load_from = {network.load_from!r}

# {reading.why[0].upper()}{reading.why[1:]}. Mean and deviation are those of {whose}, 0 to 255.
data_preprocessor = dict(
    num_classes={num_classes},
    mean={reading.mean},
    std={reading.std},
    to_rgb={reading.channels == 3},
)
{folds}{comment}
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
# {batch} images at once: {choices.why_batch}.
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
{optimizer}
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
    logger=dict(interval={max(1, min(50, choices.images // batch))}),
)
randomness = dict(seed=0)
'''


def as_call(values: dict, indent: int = 0, around: str = '') -> str:
    """A dict as ``dict(...)``, in several lines where one would be too long.

    Args:
        indent: of the line that it begins in.
        around: what else is in that line.

    >>> as_call(dict(type='DenseNet', arch=dict(depths=(2, 2))))
    "dict(type='DenseNet', arch=dict(depths=(2, 2)))"
    """
    if not all(key.isidentifier() and not keyword.iskeyword(key) for key in values):
        return repr(values)
    found = [(key, as_call(v) if isinstance(v, dict) else repr(v)) for key, v in values.items()]
    line = f'dict({", ".join(f"{key}={text}" for key, text in found)})'
    if indent + len(around) + len(line) <= 120:
        return line
    inner = ' ' * (indent + 4)
    lines = []
    for key, value in values.items():
        text = as_call(value, indent + 4, f'{key}=,') if isinstance(value, dict) else repr(value)
        lines.append(f'{inner}{key}={text},\n')
    return f'dict(\n{"".join(lines)}{" " * indent})'
