model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmdensenet.DenseNet', arch=dict(growth_rate=48, depths=(6, 12, 48, 48), init_channels=96)),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=3648,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
        topk=(1, 5),
    ),
)
