"""DenseNet-BC (L=40, k=12) on CIFAR-10 with the paper's augmentation and 300 epochs.

Expected: no published figure; a development model of 176,122 parameters. (The smallest that the paper reports is the
plain DenseNet L=40 k=12, 5.24% error with augmentation.) No run of ours stands behind this config yet.

Hardware: any GPU, or a CPU for a few epochs.
Train:    python tools/train.py configs/densenet-bc-l40-k12_1xb64_cifar10.py
Test:     python tools/test.py configs/densenet-bc-l40-k12_1xb64_cifar10.py CHECKPOINT
"""

_base_ = [
    '_base_/models/densenet-bc-l40-k12_cifar.py',
    '_base_/datasets/cifar10_bs64.py',
    '_base_/schedules/cifar_bs64.py',
    '_base_/default_runtime.py',
]
