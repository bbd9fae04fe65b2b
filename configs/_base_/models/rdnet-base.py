_base_ = 'rdnet-tiny.py'
model = dict(
    backbone=dict(arch='base', drop_path_rate=0.4),
    neck=dict(in_channels=1760),
    head=dict(in_channels=1760),
)
