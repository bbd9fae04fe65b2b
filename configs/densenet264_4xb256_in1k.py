"""DenseNet-264 on ImageNet-1k, four GPUs with 256 images each, the paper's 90 epochs.

Expected: top-1 error 22.15% and top-5 error 6.12% with one crop, in the paper's own training with
batch 256 (arXiv:1608.06993, table 3).
The schedule is for the batch of 1024: with the rate for 256, as in mmpretrain, a run ended two points lower (its
issue 818).
No run of ours stands behind this config yet.

Hardware: 4 GPUs (memory and time not measured yet).
Train:    bash tools/dist_train.sh configs/densenet264_4xb256_in1k.py 4 --amp
Test:     python tools/test.py configs/densenet264_4xb256_in1k.py CHECKPOINT
"""

_base_ = [
    '_base_/models/densenet264.py',
    '_base_/datasets/imagenet_bs256.py',
    '_base_/schedules/imagenet_bs1024.py',
    '_base_/default_runtime.py',
]
