"""The config of a small classifier over the ImageNet config, for folders of images of three classes."""

from pathlib import Path


def write_imagenet_config(file: Path, images: Path, classes: tuple[str, str, str], pipeline: str | None = None) -> Path:
    """Write the config. ``pipeline`` is the code of one for all data; None takes the ImageNet config's pipelines."""
    train, test = (pipeline, pipeline) if pipeline else ('_base_.train_pipeline', '_base_.test_pipeline')
    file.write_text(f"""_base_ = 'mmdensenet::densenet121_4xb256_in1k.py'
model = dict(
    backbone=dict(arch=dict(_delete_=True, growth_rate=4, depths=(2, 2), init_channels=8)),
    head=dict(in_channels=16, num_classes=3, topk=(1,)),
)
data_preprocessor = dict(num_classes=3)
names = dict(classes={classes!r})
data = dict(_delete_=True, type='CustomDataset', metainfo=names, data_root={str(images)!r})
train_dataloader = dict(batch_size=4, num_workers=0, dataset=dict(data, pipeline={train}))
val_dataloader = dict(batch_size=4, num_workers=0, dataset=dict(data, pipeline={test}))
test_dataloader = val_dataloader
val_evaluator = dict(topk=(1,))
test_evaluator = val_evaluator
del data, names
""")
    return file
