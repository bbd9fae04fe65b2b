"""DenseNet-121 on ImageNet-1k, trained at 224 pixels and tested at 288.

Expected: top-1 76.49% and top-5 93.38%, of timm's weights densenet121.ra_in1k, trained with RandAugment (by timm);
tools/test.py takes them as they are. The training here is the paper's, as in densenet121_4xb256_in1k.py.
No run of ours stands behind this config yet.

Hardware: 4 GPUs (memory and time not measured yet).
Train:    bash tools/dist_train.sh configs/densenet121-288_4xb256_in1k.py 4 --amp
Test:     python tools/test.py configs/densenet121-288_4xb256_in1k.py CHECKPOINT
"""

_base_ = [
    '_base_/models/densenet121.py',
    '_base_/datasets/imagenet_bs256_test288.py',
    '_base_/schedules/imagenet_bs1024.py',
    '_base_/default_runtime.py',
]
