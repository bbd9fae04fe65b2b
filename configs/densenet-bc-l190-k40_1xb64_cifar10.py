"""DenseNet-BC (L=190, k=40) on CIFAR-10 with the paper's augmentation.

Expected: error 3.46% (arXiv:1608.06993, table 2, column C10+). No run of ours stands behind this config yet.

Hardware: one GPU (memory and time not measured yet).
Train:    python tools/train.py configs/densenet-bc-l190-k40_1xb64_cifar10.py
Test:     python tools/test.py configs/densenet-bc-l190-k40_1xb64_cifar10.py CHECKPOINT
"""

_base_ = [
    '_base_/models/densenet-bc-l190-k40_cifar.py',
    '_base_/datasets/cifar10_bs64.py',
    '_base_/schedules/cifar_bs64.py',
    '_base_/default_runtime.py',
]
