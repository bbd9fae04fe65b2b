# L = 250 layers: (250 - 4) / 6 = 41 bottleneck layers in each of three blocks; 2k channels in the stem,
# compression 0.5.
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='mmdensenet.DenseNet',
        arch=dict(growth_rate=24, depths=(41, 41, 41), init_channels=48),
        stem='cifar',
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=10,
        in_channels=1734,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
        topk=(1,),
    ),
)
