"""DenseNet-264 (k=32) on ImageNet-1k, batch 256, the technical report's 100 epochs with a cosine schedule.

Expected: top-1 error 21.6% with one crop (the authors' published model of arXiv:1707.06990).
No run of ours stands behind this config yet.

Hardware: 4 GPUs (memory and time not measured yet).
Train:    bash tools/dist_train.sh configs/densenet264-k32-cosine_4xb64_in1k.py 4 --amp
Test:     python tools/test.py configs/densenet264-k32-cosine_4xb64_in1k.py CHECKPOINT
"""

_base_ = [
    '_base_/models/densenet264.py',
    '_base_/datasets/imagenet_bs64.py',
    '_base_/schedules/imagenet_bs256_cosine.py',
    '_base_/default_runtime.py',
]
