"""DenseNet-121 on ImageNet-1k in 16 epochs with one GPU: images that grow from 128 to 192 pixels.

For people with one GPU and one night. Each value, and its reason:

- 128 pixels for 7 epochs, 160 for 5, 192 for 4, tested at 224: early epochs learn coarse things, which small images
  show, and cost a third (fast.ai's DAWNBench entry of 2018, ffcv's configs).
- lr 0.5 for batch 256, five times the paper's, up in 2 epochs and then straight down (ffcv's shape): so few epochs
  need a large rate, and the end of the descent is where the accuracy comes from.
- Weight decay 5e-5, half of the paper's, and none for norms: so few epochs overfit little.
- Label smoothing 0.1; crop and flip, no more: an epoch sees an image 16 times only.
- AMP, channels_last: the time.

Expected: nobody has published a DenseNet of this recipe. ffcv's ResNet-50 reaches about 71% in as many epochs, and
torchvision's DenseNet-121 is 1.7 points below its ResNet-50.
No run of ours stands behind this config yet.

Hardware: 1 GPU (memory and time not measured yet).
Train:    python tools/train.py configs/densenet121_1xb256-16e_in1k.py --amp
Test:     python tools/test.py configs/densenet121_1xb256-16e_in1k.py CHECKPOINT
"""

_base_ = [
    '_base_/models/densenet121.py',
    '_base_/datasets/imagenet_bs256.py',
    '_base_/schedules/imagenet_bs256_16e.py',
    '_base_/default_runtime.py',
]
model = dict(
    backbone=dict(channels_last=True),
    head=dict(loss=dict(_delete_=True, type='LabelSmoothLoss', label_smooth_val=0.1, mode='original')),
)
pipelines = [
    [
        dict(type='LoadImageFromFile'),
        dict(type='RandomResizedCrop', scale=scale),
        dict(type='RandomFlip', prob=0.5, direction='horizontal'),
        dict(type='PackInputs'),
    ]
    for scale in (128, 160, 192)
]
train_dataloader = dict(dataset=dict(pipeline=pipelines[0]))
custom_hooks = [
    dict(
        type='SwitchRecipeHook',
        schedule=[
            dict(action_epoch=8, train_pipeline=pipelines[1]),
            dict(action_epoch=13, train_pipeline=pipelines[2]),
        ],
    )
]
