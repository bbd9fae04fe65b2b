"""DenseNet-201 on ImageNet-1k, trained at 224 pixels and tested at 288.

Expected: more than at 224, see densenet201_4xb256_in1k.py; nobody has published a figure at 288. (timm's DenseNet-121
gains 0.92 points.)
No run of ours stands behind this config yet.

Hardware: 4 GPUs (memory and time not measured yet).
Train:    bash tools/dist_train.sh configs/densenet201-288_4xb256_in1k.py 4 --amp
Test:     python tools/test.py configs/densenet201-288_4xb256_in1k.py CHECKPOINT
"""

_base_ = [
    '_base_/models/densenet201.py',
    '_base_/datasets/imagenet_bs256_test288.py',
    '_base_/schedules/imagenet_bs1024.py',
    '_base_/default_runtime.py',
]
