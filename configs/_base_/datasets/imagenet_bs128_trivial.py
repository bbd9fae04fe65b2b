# ImageNet-1k as torchvision's recipe of 2021 has it: trained at 176 pixels with TrivialAugment (arXiv:2103.10158: one
# operation for each image, of a strength from 0 to its largest) and random erasing; tested at 224, from a short side
# of 232.
_base_ = 'imagenet_bs256.py'
operations = [
    dict(type='Brightness', magnitude_range=(0, 0), prob=0.0),  # leaves the image as it is
    *(dict(type='Shear', magnitude_range=(0, 0.99), direction=d, prob=1.0) for d in ('horizontal', 'vertical')),
    # 32 pixels of 176
    *(dict(type='Translate', magnitude_range=(0, 0.1818), direction=d, prob=1.0) for d in ('horizontal', 'vertical')),
    dict(type='Rotate', magnitude_range=(0, 135), prob=1.0),
    *(
        dict(type=kind, magnitude_range=(0, 0.99), prob=1.0)
        for kind in ('Brightness', 'ColorTransform', 'Contrast', 'Sharpness')
    ),
    dict(type='Posterize', magnitude_range=(8, 2), prob=1.0),
    dict(type='Solarize', magnitude_range=(255, 0), prob=1.0),
    dict(type='AutoContrast', prob=1.0),
    dict(type='Equalize', prob=1.0),
]
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=176),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(
        type='RandAugment',
        policies=operations,
        num_policies=1,
        total_level=10,
        magnitude_level=10,
        magnitude_std='inf',  # from 0 to magnitude_level
        hparams=dict(pad_val=0),
    ),
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
