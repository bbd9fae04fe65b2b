# L = 40 layers: (40 - 4) / 3 = 12 plain layers in each of three blocks; 16 channels in the stem, no compression.
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='mmdensenet.DenseNet',
        arch=dict(growth_rate=12, depths=(12, 12, 12), init_channels=16),
        stem='cifar',
        bottleneck=False,
        compression_factor=1.0,
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=10,
        in_channels=448,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
        topk=(1,),
    ),
)
