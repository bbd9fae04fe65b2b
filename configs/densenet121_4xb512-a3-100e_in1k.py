"""DenseNet-121 on ImageNet-1k in 100 epochs at 160 pixels: recipe A3 of "ResNet strikes back" (arXiv:2110.00476).

The cheapest recipe that gains on the paper's 90 epochs: at 160 pixels an epoch costs half. Each value is A3's:

- 160 pixels for training, 224 for the test (crop 0.95, bicubic): crops of training show objects larger.
- LAMB, lr 8e-3 for batch 2048, weight decay 0.02 but for norms and biases: its steps are in units of the weights, which
  binary cross-entropy and large batches need; 5 epochs of warm-up, then a cosine.
- Binary cross-entropy: with Mixup and CutMix an image is of two classes, and each is a question of its own.
- Mixup 0.1 and CutMix 1.0, one of the two for each batch; RandAugment 6 of 10, spread 0.5: more would need more epochs.

Expected: nobody has published a DenseNet of this recipe. ResNet-50 reaches 78.1% with it (arXiv:2110.00476, table 1).
No run of ours stands behind this config yet.

Hardware: 4 GPUs (memory and time not measured yet).
Train:    bash tools/dist_train.sh configs/densenet121_4xb512-a3-100e_in1k.py 4 --amp
Test:     python tools/test.py configs/densenet121_4xb512-a3-100e_in1k.py CHECKPOINT
"""

_base_ = [
    '_base_/models/densenet121.py',
    '_base_/datasets/imagenet_bs512_a3.py',
    '_base_/schedules/imagenet_bs2048_a3.py',
    '_base_/default_runtime.py',
]
model = dict(
    head=dict(loss=dict(type='CrossEntropyLoss', use_sigmoid=True)),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.1), dict(type='CutMix', alpha=1.0)]),
)
