# CIFAR-100 without augmentation. The paper then adds dropout of 0.2 after each convolution but the first, which is the
# model's: drop_rate=0.2, drop_after='convolution'.
_base_ = 'cifar100_bs64.py'

train_dataloader = dict(dataset=dict(pipeline=[dict(type='PackInputs')]))
