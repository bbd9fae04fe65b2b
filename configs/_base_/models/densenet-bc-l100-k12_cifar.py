# L = 100 layers: (100 - 4) / 6 = 16 bottleneck layers in each of three blocks; 2k channels in the stem,
# compression 0.5.
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='mmdensenet.DenseNet',
        arch=dict(growth_rate=12, depths=(16, 16, 16), init_channels=24),
        stem='cifar',
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=10,
        in_channels=342,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
        topk=(1,),
    ),
)
