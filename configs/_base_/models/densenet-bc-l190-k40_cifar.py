# L = 190 layers: (190 - 4) / 6 = 31 bottleneck layers in each of three blocks; 2k channels in the stem,
# compression 0.5.
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='mmdensenet.DenseNet',
        arch=dict(growth_rate=40, depths=(31, 31, 31), init_channels=80),
        stem='cifar',
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=10,
        in_channels=2190,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
        topk=(1,),
    ),
)
