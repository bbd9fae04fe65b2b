"""DenseNet-121 for grey images with several labels in a CSV file, from OpenMMLab's ImageNet weights.

Expected: what your data give; there is no published figure. No run of ours stands behind this config.

Hardware: one GPU, or a CPU for small data.
Train:    python tools/train.py configs/densenet121_1xb32_csv.py
Test:     python tools/test.py configs/densenet121_1xb32_csv.py CHECKPOINT
"""

_base_ = [
    '_base_/models/densenet121.py',
    '_base_/datasets/csv_bs32.py',
    '_base_/schedules/finetune_bs32.py',
    '_base_/default_runtime.py',
]

model = dict(
    backbone=dict(in_channels=1),  # the weights' first convolution is summed over its channels
    head=dict(
        _delete_=True,
        type='MultiLabelLinearClsHead',
        num_classes=5,
        in_channels=1024,
        thr=0.5,
        loss=dict(type='mmdensenet.MaskedBCELoss'),  # pos_weight=[...] for rare labels
    ),
)
default_hooks = dict(checkpoint=dict(save_best='auroc/macro', rule='greater'))
load_from = 'https://download.openmmlab.com/mmclassification/v0/densenet/densenet121_4xb256_in1k_20220426-07450f99.pth'
