"""DenseNet-121 on ImageNet-1k, four GPUs with 256 images each, the paper's 90 epochs.

Expected: top-1 error 25.02% and top-5 error 7.71% with one crop, in the paper's own training with
batch 256 (arXiv:1608.06993, table 3).
OpenMMLab's published weights, converted from torchvision's, reach top-1 74.96% and top-5 92.21% (by mmpretrain).
The schedule is for the batch of 1024: with the rate for 256, as in mmpretrain, a run ended two points lower (its
issue 818).
No run of ours stands behind this config yet.

Hardware: 4 GPUs (memory and time not measured yet).
Train:    bash tools/dist_train.sh configs/densenet121_4xb256_in1k.py 4 --amp
Test:     python tools/test.py configs/densenet121_4xb256_in1k.py CHECKPOINT
"""

_base_ = [
    '_base_/models/densenet121.py',
    '_base_/datasets/imagenet_bs256.py',
    '_base_/schedules/imagenet_bs1024.py',
    '_base_/default_runtime.py',
]
