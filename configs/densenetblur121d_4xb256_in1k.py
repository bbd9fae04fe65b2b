"""DenseNet-121 with a stem of three 3x3 convolutions and BlurPool (timm's densenetblur121d) on ImageNet-1k.

Expected: top-1 76.57% and top-5 93.19%, of timm's weights densenetblur121d.ra_in1k, trained with RandAugment (by timm);
tools/test.py takes them as they are. The training here is the paper's, as in densenet121_4xb256_in1k.py.
No run of ours stands behind this config yet.

Hardware: 4 GPUs (memory and time not measured yet).
Train:    bash tools/dist_train.sh configs/densenetblur121d_4xb256_in1k.py 4 --amp
Test:     python tools/test.py configs/densenetblur121d_4xb256_in1k.py CHECKPOINT
"""

_base_ = [
    '_base_/models/densenetblur121d.py',
    '_base_/datasets/imagenet_bs256_bicubic.py',
    '_base_/schedules/imagenet_bs1024.py',
    '_base_/default_runtime.py',
]
