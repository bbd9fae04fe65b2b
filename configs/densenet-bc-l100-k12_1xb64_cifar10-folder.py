"""DenseNet-BC (L=100, k=12) on CIFAR-10 as image files: data/cifar10_jpeg/{train,test}/CLASS/*.jpg.

The same as densenet-bc-l100-k12_1xb64_cifar10.py but for the data set's files, which are JPEGs.

Expected: error 4.51% (arXiv:1608.06993, table 2, column C10+) with all 300 epochs on the original images.
Ours: 22.85% after 3 epochs (learning rate 0.1 for two, 0.01 for one), all that two CPU cores had time for;
docs/runs/densenet-bc-l100-k12_cifar10-folder_3-epochs.json is its log.

Hardware: one GPU; on two CPU cores with the C++ kernels an epoch takes 14 minutes.
Train:    python tools/train.py configs/densenet-bc-l100-k12_1xb64_cifar10-folder.py
Test:     python tools/test.py configs/densenet-bc-l100-k12_1xb64_cifar10-folder.py CHECKPOINT
"""

_base_ = [
    '_base_/models/densenet-bc-l100-k12_cifar.py',
    '_base_/datasets/cifar10_folder_bs64.py',
    '_base_/schedules/cifar_bs64.py',
    '_base_/default_runtime.py',
]
