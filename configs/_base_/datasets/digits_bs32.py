# scikit-learn's handwritten digits: 1,797 grey images of 8x8 pixels that come with the package, a quarter of each class
# held out. Pixels are 0 to 255 here (0 to 16 in scikit-learn).
dataset_type = 'mmdensenet.Digits'
data_preprocessor = dict(num_classes=10, mean=[77.9], std=[95.9])

train_pipeline = [dict(type='RandomCrop', crop_size=8, padding=1), dict(type='PackInputs')]
test_pipeline = [dict(type='PackInputs')]

train_dataloader = dict(
    batch_size=32,
    num_workers=0,  # the images are in memory
    persistent_workers=False,
    dataset=dict(type=dataset_type, split='train', pipeline=train_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=True),
)
val_dataloader = dict(
    batch_size=150,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(type=dataset_type, split='test', pipeline=test_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
val_evaluator = dict(type='Accuracy', topk=(1,))
test_dataloader = val_dataloader
test_evaluator = val_evaluator
