# SVHN, cropped digits: data/svhn/{train,extra,test}_32x32.mat. Trained on train and extra (604,388 images) without
# augmentation, pixels divided by 255, as in the paper, which adds dropout of 0.2 after each convolution but the first:
# the model's drop_rate=0.2, drop_after='convolution'. The paper holds 6,000 training images out to choose the epoch;
# here all are trained on, and the last epoch is the result.
dataset_type = 'mmdensenet.SVHN'
data_root = 'data/svhn'
data_preprocessor = dict(num_classes=10, mean=[0.0, 0.0, 0.0], std=[255.0, 255.0, 255.0], to_rgb=False)

train_dataloader = dict(
    batch_size=64,
    num_workers=2,
    dataset=dict(type=dataset_type, data_root=data_root, split='train+extra', pipeline=[dict(type='PackInputs')]),
    sampler=dict(type='DefaultSampler', shuffle=True),
)
val_dataloader = dict(
    batch_size=50,
    num_workers=2,
    dataset=dict(type=dataset_type, data_root=data_root, split='test', pipeline=[dict(type='PackInputs')]),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
val_evaluator = dict(type='Accuracy', topk=(1,))
test_dataloader = val_dataloader
test_evaluator = val_evaluator
