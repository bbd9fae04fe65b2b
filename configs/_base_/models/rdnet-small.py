_base_ = 'rdnet-tiny.py'
model = dict(
    backbone=dict(arch='small', drop_path_rate=0.35),
    neck=dict(in_channels=1264),
    head=dict(in_channels=1264),
)
