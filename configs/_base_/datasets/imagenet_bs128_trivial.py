# ImageNet-1k as torchvision's recipe of 2021 has it: trained at 176 pixels with TrivialAugment and random erasing,
# tested at 224 from a short side of 232.
_base_ = 'imagenet_bs256.py'
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=176),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='mmdensenet.TrivialAugment', size=176),
    dict(type='RandomErasing', erase_prob=0.1, mode='const', fill_color=[103.53, 116.28, 123.675]),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=232, edge='short'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]
train_dataloader = dict(batch_size=128, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
