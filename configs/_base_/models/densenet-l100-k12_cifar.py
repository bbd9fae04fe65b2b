# L = 100 layers: (100 - 4) / 3 = 32 plain layers in each of three blocks.
_base_ = 'densenet-l40-k12_cifar.py'
model = dict(backbone=dict(arch=dict(depths=(32, 32, 32))), head=dict(in_channels=1168))
