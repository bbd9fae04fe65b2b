"""DenseNet-BC (L=100, k=12) on CIFAR-10 as image files, in 40 epochs: data/cifar10_jpeg/{train,test}/CLASS/*.jpg.

_base_/schedules/cifar_40e_bs256.py gives the reason of each value: a triangular learning rate up to 0.4, Nesterov
momentum, batch 256, label smoothing, averaged weights; and a test with each image's mirror image (--tta).

Expected: nobody has published an error for so few epochs; with all 300 it is 4.51% (arXiv:1608.06993, table 2, C10+).
The aim is 95% (5% error), and a table of the time to 94% and 95% on anybody's hardware.
No run of ours stands behind this config yet.

Hardware: one GPU (with --cfg-options train_dataloader.num_workers=8, for the images are JPEGs), or a few CPU cores.
Train:    python tools/train.py configs/densenet-bc-l100-k12_1xb256-40e_cifar10-folder.py
Test:     python tools/test.py configs/densenet-bc-l100-k12_1xb256-40e_cifar10-folder.py CHECKPOINT --tta
"""

_base_ = [
    '_base_/models/densenet-bc-l100-k12_cifar.py',
    '_base_/datasets/cifar10_folder_bs64.py',
    '_base_/schedules/cifar_40e_bs256.py',
    '_base_/default_runtime.py',
]
model = dict(head=dict(loss=dict(_delete_=True, type='LabelSmoothLoss', label_smooth_val=0.1, mode='original')))
train_dataloader = dict(batch_size=256)
