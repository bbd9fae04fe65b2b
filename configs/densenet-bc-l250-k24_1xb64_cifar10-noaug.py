"""DenseNet-BC (L=250, k=24) on CIFAR-10 without augmentation, with dropout 0.2.

Expected: error 5.19% (arXiv:1608.06993, table 2, column C10). No run of ours stands behind this config yet.

Hardware: one GPU (memory and time not measured yet).
Train:    python tools/train.py configs/densenet-bc-l250-k24_1xb64_cifar10-noaug.py
Test:     python tools/test.py configs/densenet-bc-l250-k24_1xb64_cifar10-noaug.py CHECKPOINT
"""

_base_ = [
    '_base_/models/densenet-bc-l250-k24_cifar.py',
    '_base_/datasets/cifar10_noaug_bs64.py',
    '_base_/schedules/cifar_bs64.py',
    '_base_/default_runtime.py',
]

model = dict(backbone=dict(drop_rate=0.2, drop_after='convolution'))
