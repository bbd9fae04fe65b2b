_base_ = 'rdnet-tiny.py'
model = dict(
    backbone=dict(arch='large', drop_path_rate=0.5),
    neck=dict(in_channels=2000),
    head=dict(in_channels=2000),
)
