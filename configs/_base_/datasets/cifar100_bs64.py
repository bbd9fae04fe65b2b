# CIFAR-100 from its Python batches, data/cifar100/cifar-100-python (mmpretrain downloads them if they are missing),
# with the paper's standard augmentation.
_base_ = 'cifar10_bs64.py'

dataset_type = 'CIFAR100'
data_root = 'data/cifar100'
data_preprocessor = dict(
    num_classes=100,
    mean=[129.304, 124.070, 112.434],  # RGB, of the training images
    std=[68.170, 65.392, 70.418],
)

train_dataloader = dict(dataset=dict(type=dataset_type, data_root=data_root))
val_dataloader = dict(dataset=dict(type=dataset_type, data_root=data_root))
test_dataloader = val_dataloader
