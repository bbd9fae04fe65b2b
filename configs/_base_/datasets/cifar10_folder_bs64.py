# CIFAR-10 as image files, data/cifar10_jpeg/{train,test}/CLASS/*.jpg, with the paper's standard augmentation.
dataset_type = 'CustomDataset'
data_root = 'data/cifar10_jpeg'
data_preprocessor = dict(
    num_classes=10,
    mean=[125.307, 122.950, 113.865],  # RGB, of the training images
    std=[62.993, 62.089, 66.705],
    to_rgb=True,  # images are read as BGR
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomCrop', crop_size=32, padding=4),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]

train_dataloader = dict(
    batch_size=64,
    num_workers=2,
    dataset=dict(type=dataset_type, data_root=data_root, data_prefix='train', pipeline=train_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=True),
)
val_dataloader = dict(
    batch_size=50,
    num_workers=2,
    dataset=dict(type=dataset_type, data_root=data_root, data_prefix='test', pipeline=test_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
val_evaluator = dict(type='Accuracy', topk=(1,))
test_dataloader = val_dataloader
test_evaluator = val_evaluator
