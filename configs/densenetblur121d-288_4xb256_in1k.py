"""timm's densenetblur121d on ImageNet-1k, trained at 224 pixels and tested at 288: DenseNet-161's level, 8 M weights.

Expected: top-1 77.32% and top-5 93.80%, of timm's weights densenetblur121d.ra_in1k, trained with RandAugment (by timm);
tools/test.py takes them as they are. The training here is the paper's, as in densenet121_4xb256_in1k.py.
No run of ours stands behind this config yet.

Hardware: 4 GPUs (memory and time not measured yet).
Train:    bash tools/dist_train.sh configs/densenetblur121d-288_4xb256_in1k.py 4 --amp
Test:     python tools/test.py configs/densenetblur121d-288_4xb256_in1k.py CHECKPOINT
"""

_base_ = [
    '_base_/models/densenetblur121d.py',
    '_base_/datasets/imagenet_bs256_test288.py',
    '_base_/schedules/imagenet_bs1024.py',
    '_base_/default_runtime.py',
]
