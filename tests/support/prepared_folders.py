"""Configs of small data sets to be copied."""

from mmengine.config import Config

LOAD = [dict(type='LoadImageFromFile')]


def config(dataset: dict, **others) -> Config:
    return Config(
        dict(model=dict(type='ImageClassifier'), train_dataloader=dict(batch_size=1, dataset=dataset), **others)
    )


def folder(root, prefix='train', pipeline=LOAD, **options) -> dict:
    return dict(type='CustomDataset', data_root=str(root), data_prefix=prefix, pipeline=pipeline, **options)
