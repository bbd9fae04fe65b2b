# L = 250 layers: (250 - 4) / 6 = 41 bottleneck layers in each of three blocks; 2k channels in the stem.
_base_ = 'densenet-bc-l40-k12_cifar.py'
model = dict(
    backbone=dict(arch=dict(growth_rate=24, depths=(41, 41, 41), init_channels=48)), head=dict(in_channels=1734)
)
