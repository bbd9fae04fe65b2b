# L = 190 layers: (190 - 4) / 6 = 31 bottleneck layers in each of three blocks; 2k channels in the stem.
_base_ = 'densenet-bc-l40-k12_cifar.py'
model = dict(
    backbone=dict(arch=dict(growth_rate=40, depths=(31, 31, 31), init_channels=80)), head=dict(in_channels=2190)
)
