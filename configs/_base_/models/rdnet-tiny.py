model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmdensenet.RDNet', arch='tiny', drop_path_rate=0.15),
    neck=dict(type='mmdensenet.NormedAveragePooling', in_channels=1040),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=1040,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
        topk=(1, 5),
    ),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]),
)
