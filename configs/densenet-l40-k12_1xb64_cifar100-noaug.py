"""DenseNet (L=40, k=12) on CIFAR-100 without augmentation, with dropout 0.2.

Expected: error 27.55% (arXiv:1608.06993, table 2, column C100). No run of ours stands behind this config yet.

Hardware: one GPU (memory and time not measured yet).
Train:    python tools/train.py configs/densenet-l40-k12_1xb64_cifar100-noaug.py
Test:     python tools/test.py configs/densenet-l40-k12_1xb64_cifar100-noaug.py CHECKPOINT
"""

_base_ = [
    '_base_/models/densenet-l40-k12_cifar.py',
    '_base_/datasets/cifar100_noaug_bs64.py',
    '_base_/schedules/cifar_bs64.py',
    '_base_/default_runtime.py',
]

model = dict(backbone=dict(drop_rate=0.2, drop_after='convolution'), head=dict(num_classes=100))
