"""mmpretrain's image retrieval and nearest neighbours with our backbone, as docs/inherit.md shows them."""

import json

import numpy as np
import pytest
import torch
from conftest import write_images
from mmengine.config import Config
from sklearn.neighbors import KNeighborsClassifier

import mmdensenet
from mmdensenet.analysis.embedding import pooled_features
from mmdensenet.apis import test_model, train_model

CONFIG = """
default_scope = 'mmpretrain'
data_preprocessor = dict(num_classes=3, mean=[120.] * 3, std=[60.] * 3)
pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
images = dict(type='CustomDataset', data_root={root!r}, pipeline=pipeline)
train_dataloader = dict(batch_size=4, num_workers=0, dataset=images, sampler=dict(type='DefaultSampler', shuffle=True))
gallery_dataloader = dict(
    batch_size=4, num_workers=0, dataset=images, sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'))
val_dataloader = dict(
    batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='MultiLabelDataset', data_root={root!r}, ann_file='queries.json', pipeline=pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(type='RetrievalRecall', topk=(1, 2))
test_evaluator = val_evaluator
model = dict(
    type='ImageToImageRetriever',
    image_encoder=[
        dict(type='mmdensenet.DenseNet', arch=dict(growth_rate=4, depths=(1, 2), init_channels=8), stem='cifar'),
        dict(type='GlobalAveragePooling')],
    head=dict(type='ArcFaceClsHead', num_classes=3, in_channels=14, loss=dict(type='CrossEntropyLoss')),
    prototype=gallery_dataloader)
custom_hooks = [dict(type='PrepareProtoBeforeValLoopHook')]
default_hooks = dict(checkpoint=dict(type='CheckpointHook', save_best='auto', rule='greater'))
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01))
train_cfg = dict(by_epoch=True, max_epochs=1)
val_cfg = dict()
test_cfg = dict()
"""


@pytest.fixture
def config(tmp_path):
    """A gallery of twelve images of three classes, and queries of other images with their classes' places in it."""
    root = write_images(tmp_path / 'images')
    write_images(tmp_path / 'queries', seed=1)
    queries = [
        dict(img_path=f'../queries/class_{i}/{j}.jpg', gt_label=list(range(4 * i, 4 * i + 4)))
        for i in range(3)
        for j in range(2)
    ]
    (root / 'queries.json').write_text(json.dumps(dict(metainfo={}, data_list=queries)))
    file = tmp_path / 'retrieval.py'
    file.write_text(CONFIG.format(root=str(root)))
    return file


def test_retrieval(config, tmp_path):
    """Trained, tested, and the recall is that of the cosine similarities of the pooled features."""
    train_model(str(config), work_dir=str(tmp_path / 'w'))
    checkpoint = str(tmp_path / 'w/epoch_1.pth')
    metrics = test_model(str(config), checkpoint, work_dir=str(tmp_path / 't'))

    from mmengine.runner import load_checkpoint
    from mmpretrain.registry import DATASETS, MODELS

    cfg = Config.fromfile(config)
    model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    load_checkpoint(model, checkpoint)
    found = []
    for loader in (cfg.gallery_dataloader, cfg.test_dataloader):
        dataset = DATASETS.build(loader.dataset)
        inputs = torch.stack([dataset[i]['inputs'] for i in range(len(dataset))])
        with torch.no_grad():
            found.append(model.eval().extract_feat(model.data_preprocessor(dict(inputs=inputs))['inputs']))
    gallery, queries = (features[-1] if isinstance(features, tuple) else features for features in found)
    order = torch.cosine_similarity(queries[:, None], gallery[None], dim=-1).argsort(1, descending=True)
    right = (order // 4) == torch.arange(6)[:, None] // 2
    for k in (1, 2):
        wanted = 100 * right[:, :k].any(1).float().mean().item()
        assert metrics[f'retrieval/Recall@{k}'] == pytest.approx(wanted)


def test_nearest_neighbours(tmp_path, short_config):
    """mmpretrain 1.2 has no evaluation by nearest neighbours: scikit-learn's, of the pooled features."""
    from mmpretrain.registry import DATASETS

    cfg = Config.fromfile(short_config())
    model = mmdensenet.get_model(cfg)
    train, test = (
        pooled_features(model, DATASETS.build(dict(type='mmdensenet.Digits', split=split, pipeline=cfg.test_pipeline)))
        for split in ('train', 'test')
    )
    neighbours = KNeighborsClassifier(1).fit(train[0], [label for (label,) in train[1]])
    truth = np.array([label for (label,) in test[1]])
    nearest = np.array(train[1])[((test[0][:, None] - train[0][None]) ** 2).sum(-1).argmin(1)][:, 0]
    accuracy = neighbours.score(test[0], truth)
    assert accuracy == pytest.approx((nearest == truth).mean(), abs=0.01)
    assert accuracy > 0.5, 'random filters are far above chance, 0.1'
