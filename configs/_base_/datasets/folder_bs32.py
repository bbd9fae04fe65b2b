# Images of your own, one folder per class: data/folder/{train,val}/CLASS/*.jpg. Classes are the folders, sorted.
_base_ = 'imagenet_bs256.py'

dataset_type = 'CustomDataset'
data_root = 'data/folder'
data_preprocessor = dict(num_classes=2)

train_dataloader = dict(
    batch_size=32,
    num_workers=4,
    dataset=dict(
        _delete_=True,
        type=dataset_type,
        data_root=data_root,
        data_prefix='train',
        pipeline={{_base_.train_pipeline}},
    ),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=4,
    dataset=dict(
        _delete_=True,
        type=dataset_type,
        data_root=data_root,
        data_prefix='val',
        pipeline={{_base_.test_pipeline}},
    ),
)
val_evaluator = dict(topk=(1,))
test_dataloader = val_dataloader
test_evaluator = val_evaluator
