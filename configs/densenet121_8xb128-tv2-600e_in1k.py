"""DenseNet-121 on ImageNet-1k in 600 epochs: torchvision's recipe of 2021, whose weights it calls IMAGENET1K_V2.

The long one, for whoever wants the most of the network and has the GPUs. Each value is torchvision's for ResNet-50
("How to train state-of-the-art models using TorchVision's latest primitives", pytorch.org):

- 600 epochs of SGD, lr 0.5 for batch 1024, 5 epochs of warm-up, cosine: the gains below need the length.
- Weight decay 2e-5, and none for norms: with so many epochs and so much augmentation less is needed.
- TrivialAugment: one random operation of random strength, nothing to tune. Random erasing 0.1.
- Label smoothing 0.1, Mixup 0.2, CutMix 1.0, one of the two for each batch.
- Averaged weights, every 32 steps, with the norms' statistics.
- 176 pixels for training, 224 for the test from a short side of 232: cheaper, and better than 224 for both.
- Left out: repeated augmentation (0.2 points there), which has another sampler.

Expected: nobody has published a DenseNet of this recipe. ResNet-50 goes from 76.13% to 80.67% with it; a network with a
third of the parameters will gain less.
No run of ours stands behind this config yet.

Hardware: 8 GPUs (memory and time not measured yet).
Train:    bash tools/dist_train.sh configs/densenet121_8xb128-tv2-600e_in1k.py 8 --amp
Test:     python tools/test.py configs/densenet121_8xb128-tv2-600e_in1k.py CHECKPOINT
"""

_base_ = [
    '_base_/models/densenet121.py',
    '_base_/datasets/imagenet_bs128_trivial.py',
    '_base_/schedules/imagenet_bs1024_600e.py',
    '_base_/default_runtime.py',
]
model = dict(
    head=dict(loss=dict(_delete_=True, type='LabelSmoothLoss', label_smooth_val=0.1, mode='original')),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.2), dict(type='CutMix', alpha=1.0)]),
)
