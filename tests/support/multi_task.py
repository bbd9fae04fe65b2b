"""A small model with one head per task, and its data."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

CONFIG = """_base_ = {digits!r}
data_preprocessor = dict(_delete_=True, type='ClsDataPreprocessor', mean=[100.] * 3, std=[60.] * 3)
pipeline = [dict(type='LoadImageFromFile'), dict(type='PackMultiTaskInputs', multi_task_fields=['gt_label'])]
ds = dict(_delete_=True, type='MultiTaskDataset', data_root={root!r}, ann_file='a.json', pipeline=pipeline)
train_dataloader = dict(batch_size=4, dataset=ds)
val_dataloader = dict(dataset=ds)
test_dataloader = dict(dataset=ds)
backbone = dict(in_channels=3, arch=dict(growth_rate=4, depths=(1, 2), init_channels=8))
heads = dict(
    kind=dict(type='LinearClsHead', num_classes=3, loss=dict(type='CrossEntropyLoss')),
    dark=dict(type='LinearClsHead', num_classes=2, loss=dict(type='CrossEntropyLoss')),
)
head = dict(_delete_=True, type='MultiTaskHead', in_channels=14, task_heads=heads)
model = dict(backbone=backbone, head=head)
accuracy = [dict(type='Accuracy', topk=(1,))]
val_evaluator = dict(_delete_=True, type='MultiTasksMetric', task_metrics=dict(kind=accuracy, dark=accuracy))
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=1)
"""


def write_multi_task(folder: Path, digits: Path, images: int = 12) -> Path:
    """Random pictures of which every second one has no label for ``dark``, and the config of a model for both tasks."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    samples = []
    for i in range(images):
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(folder / f'{i}.png')
        samples.append(
            dict(img_path=f'{i}.png', gt_label=dict(kind=i % 3) if i % 2 else dict(kind=i % 3, dark=i // 2 % 2))
        )
    (folder / 'a.json').write_text(json.dumps(dict(metainfo=dict(tasks=['kind', 'dark']), data_list=samples)))
    config = folder / 'multi_task.py'
    config.write_text(CONFIG.format(digits=str(digits), root=str(folder)))
    return config
