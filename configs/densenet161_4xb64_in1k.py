"""DenseNet-161 on ImageNet-1k, the paper's own schedule: batch 256, 90 epochs.

Expected: top-1 error 22.2% with one crop (the authors' published model; table 3 of arXiv:1608.06993 does not have it).
No run of ours stands behind this config yet.

Hardware: 4 GPUs (memory and time not measured yet).
Train:    bash tools/dist_train.sh configs/densenet161_4xb64_in1k.py 4 --amp
Test:     python tools/test.py configs/densenet161_4xb64_in1k.py CHECKPOINT
"""

_base_ = [
    '_base_/models/densenet161.py',
    '_base_/datasets/imagenet_bs64.py',
    '_base_/schedules/imagenet_bs256.py',
    '_base_/default_runtime.py',
]
