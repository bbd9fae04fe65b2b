"""DenseNet-BC (L=100, k=12) on SVHN (train and extra), with dropout 0.2.

Expected: error 1.76% (arXiv:1608.06993, table 2, column SVHN). No run of ours stands behind this config yet.

Hardware: one GPU (memory and time not measured yet).
Train:    python tools/train.py configs/densenet-bc-l100-k12_1xb64_svhn.py
Test:     python tools/test.py configs/densenet-bc-l100-k12_1xb64_svhn.py CHECKPOINT
"""

_base_ = [
    '_base_/models/densenet-bc-l100-k12_cifar.py',
    '_base_/datasets/svhn_bs64.py',
    '_base_/schedules/svhn_bs64.py',
    '_base_/default_runtime.py',
]

model = dict(backbone=dict(drop_rate=0.2, drop_after='convolution'))
