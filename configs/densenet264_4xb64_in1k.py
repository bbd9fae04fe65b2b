"""DenseNet-264 on ImageNet-1k, the paper's own schedule: batch 256, 90 epochs.

Expected: top-1 error 22.15% and top-5 error 6.12% with one crop (arXiv:1608.06993, table 3).
No run of ours stands behind this config yet.

Hardware: 4 GPUs (memory and time not measured yet).
Train:    bash tools/dist_train.sh configs/densenet264_4xb64_in1k.py 4 --amp
Test:     python tools/test.py configs/densenet264_4xb64_in1k.py CHECKPOINT
"""

_base_ = [
    '_base_/models/densenet264.py',
    '_base_/datasets/imagenet_bs64.py',
    '_base_/schedules/imagenet_bs256.py',
    '_base_/default_runtime.py',
]
