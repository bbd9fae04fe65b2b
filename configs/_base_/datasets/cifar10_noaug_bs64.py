# CIFAR-10 without augmentation. The paper then adds dropout of 0.2, which is the model's (`drop_rate`):
# here after each dense layer, in the authors' code after each of its convolutions and in the transitions too.
_base_ = 'cifar10_bs64.py'

train_dataloader = dict(dataset=dict(pipeline=[dict(type='PackInputs')]))
