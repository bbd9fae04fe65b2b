"""DenseNet-BC (L=40, k=12) on CIFAR-10 as image files: data/cifar10_jpeg/{train,test}/CLASS/*.jpg.

The same as densenet-bc-l40-k12_1xb64_cifar10.py but for the data set's file, and the pattern for images of your own.

Expected: no published figure. No run of ours stands behind this config yet.

Hardware: any GPU, or a CPU for a few epochs.
Train:    python tools/train.py configs/densenet-bc-l40-k12_1xb64_cifar10-folder.py
Test:     python tools/test.py configs/densenet-bc-l40-k12_1xb64_cifar10-folder.py CHECKPOINT
"""

_base_ = [
    '_base_/models/densenet-bc-l40-k12_cifar.py',
    '_base_/datasets/cifar10_folder_bs64.py',
    '_base_/schedules/cifar_bs64.py',
    '_base_/default_runtime.py',
]
