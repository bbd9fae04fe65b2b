"""DenseNet-161 on ImageNet-1k, four GPUs with 256 images each, the paper's 90 epochs.

Expected: top-1 error 22.2% with one crop, in the authors' training with batch 256 (arXiv:1707.06990, section 1).
OpenMMLab's published weights, converted from torchvision's, reach top-1 77.61% and top-5 93.83% (by mmpretrain).
The schedule is for the batch of 1024: with the rate for 256, as in mmpretrain, a run ended two points lower (its
issue 818).
No run of ours stands behind this config yet.

Hardware: 4 GPUs (memory and time not measured yet).
Train:    bash tools/dist_train.sh configs/densenet161_4xb256_in1k.py 4 --amp
Test:     python tools/test.py configs/densenet161_4xb256_in1k.py CHECKPOINT
"""

_base_ = [
    '_base_/models/densenet161.py',
    '_base_/datasets/imagenet_bs256.py',
    '_base_/schedules/imagenet_bs1024.py',
    '_base_/default_runtime.py',
]
