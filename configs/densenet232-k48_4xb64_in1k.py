"""DenseNet-232 (k=48) on ImageNet-1k, batch 256, the technical report's 100 epochs.

Expected: top-1 error 21.2% with one crop (the authors' published model of arXiv:1707.06990).
No run of ours stands behind this config yet.

Hardware: 4 GPUs (memory and time not measured yet).
Train:    bash tools/dist_train.sh configs/densenet232-k48_4xb64_in1k.py 4 --amp
Test:     python tools/test.py configs/densenet232-k48_4xb64_in1k.py CHECKPOINT
"""

_base_ = [
    '_base_/models/densenet232-k48.py',
    '_base_/datasets/imagenet_bs64.py',
    '_base_/schedules/imagenet_bs256_100e.py',
    '_base_/default_runtime.py',
]
