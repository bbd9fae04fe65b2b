"""A work directory as fit leaves it before its last step, made without a training."""

import csv
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from PIL import Image

from mmdensenet import get_model
from mmdensenet.apis.fit.decide import decide
from mmdensenet.checkpoints.checkpoint_meta import hash_weights
from mmdensenet.results.scores import Scores

PATIENT, FOLDER = 'Zebraston', 'Quokkahaus'
CONFIG = """
classes = {classes}
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(32, 32)),
    dict(type='PackInputs', meta_keys=('img_path', 'group')),
]
dataset = dict(
    type='mmdensenet.CSVDataset',
    data_root={root!r},
    ann_file={table!r},
    data_prefix={root!r},
    image_column='file',
    split_column='split',
    group_column='group',
    pipeline=pipeline,
    {labels},
)
model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmdensenet.DenseNet', arch=dict(growth_rate=4, depths=[2, 2], init_channels=8), stem='cifar'),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type={head!r}, num_classes=len(classes), in_channels=16, {loss}),
)
data_preprocessor = dict(num_classes=len(classes), mean=[100.0] * 3, std=[60.0] * 3, to_rgb=True)
train_dataloader = dict(batch_size=8, num_workers=0, dataset=dict(split='train', **dataset))
val_dataloader = test_dataloader = dict(
    batch_size=8, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(split='test', **dataset),
)
val_evaluator = test_evaluator = dict(type={metric!r}, {arguments})
default_scope = 'mmpretrain'
train_cfg, test_cfg, val_cfg = dict(by_epoch=True, max_epochs=3), dict(), dict()
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1))
"""


def make_work_dir(tmp_path, several: bool) -> tuple[Path, Path, Path]:
    """A work directory as fit leaves it after training: config, weights with decisions, samples.csv, and the images."""
    root, work = tmp_path / FOLDER / 'pictures', tmp_path / 'work'
    root.mkdir(parents=True)
    work.mkdir()
    rng = np.random.default_rng(0)
    classes = ['Edema', 'Pleural Effusion'] if several else ['cat', 'dog', 'owl']
    rows = []
    for i in range(48):
        label = i % 3
        pixels = rng.integers(0, 80, (40, 36, 3), dtype=np.uint8) + np.uint8(80 * label)
        Image.fromarray(pixels).save(root / f'{PATIENT}_{i}.png')
        labels = [int(label > 0), int(label > 1)] if several else [classes[label]]
        rows.append([f'study\\{i}', f'{PATIENT}_{i}.png', *labels, f'{i // 2:04x}', ('train', 'test')[i // 2 % 2]])
    with (work / 'samples.csv').open('w', newline='') as file:
        header = ['image', 'file', *(classes if several else ['label']), 'group', 'split']
        csv.writer(file).writerows([header, *rows])
    labels = f'label_columns={classes}' if several else f"label_column='label', classes={classes}"
    text = CONFIG.format(
        classes=classes,
        root=str(root),
        table=str(work / 'samples.csv'),
        labels=labels,
        head='MultiLabelLinearClsHead' if several else 'LinearClsHead',
        loss="loss=dict(type='mmdensenet.MaskedBCELoss'), thr=0.5" if several else '',
        metric='mmdensenet.RankingMetric' if several else 'Accuracy',
        arguments='' if several else 'topk=(1,)',
    )
    (work / 'animals.py').write_text(text)
    torch.manual_seed(1)
    model = get_model(Config.fromfile(work / 'animals.py'))
    torch.nn.init.normal_(model.head.fc.weight, std=2.0)
    state = model.state_dict()
    scores = scores_of(model, root, rows, classes, several)
    decisions = decide(scores, weights=hash_weights(state))
    meta = dict(dataset_meta=dict(classes=classes), decisions=decisions.to_dict(), cfg=text, epoch=3)
    torch.save(dict(meta=meta, state_dict=state), work / 'best.pth')
    return work, work / 'animals.py', work / 'best.pth'


def scores_of(model, root, rows, classes, several) -> Scores:
    """Logits of all images, as a test would keep them."""
    model.eval()
    pixels = [np.array(Image.open(root / row[1]).resize((32, 32)))[..., ::-1].transpose(2, 0, 1) for row in rows]
    with torch.no_grad():
        batch = model.data_preprocessor(dict(inputs=torch.from_numpy(np.stack(pixels))))['inputs']
        logits = model.head(model.extract_feat(batch)).double().numpy()
    if several:
        truth = np.array([row[2:4] for row in rows], float)
        scores = 1 / (1 + np.exp(-logits))
    else:
        truth = np.array([classes.index(row[2]) for row in rows])
        scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    groups = np.unique([row[-2] for row in rows], return_inverse=True)[1]
    paths = [str(root / row[1]) for row in rows]
    return Scores(scores, truth, np.arange(len(rows)), paths, classes, groups=groups, logits=logits)
