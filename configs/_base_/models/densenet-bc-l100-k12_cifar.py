# L = 100 layers: (100 - 4) / 6 = 16 bottleneck layers in each of three blocks.
_base_ = 'densenet-bc-l40-k12_cifar.py'
model = dict(backbone=dict(arch=dict(depths=(16, 16, 16))), head=dict(in_channels=342))
