"""DenseNet-121, from OpenMMLab's ImageNet weights, on images of your own in one folder per class.

Expected: what your data give; there is no published figure. No run of ours stands behind this config.

Hardware: one GPU, or a CPU for small data.
Train:    python tools/train.py configs/densenet121_1xb32_folder.py --cfg-options model.head.num_classes=2
Test:     python tools/test.py configs/densenet121_1xb32_folder.py CHECKPOINT
"""

_base_ = [
    '_base_/models/densenet121.py',
    '_base_/datasets/folder_bs32.py',
    '_base_/schedules/finetune_bs32.py',
    '_base_/default_runtime.py',
]

model = dict(head=dict(num_classes=2, topk=(1,)))
load_from = 'https://download.openmmlab.com/mmclassification/v0/densenet/densenet121_4xb256_in1k_20220426-07450f99.pth'
