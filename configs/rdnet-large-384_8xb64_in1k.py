"""RDNet-large at 384 pixels on ImageNet-1k: 30 epochs of fine-tuning from the weights trained at 224.

Expected: top-1 85.84% and top-5 97.68% at 384 with a crop of 1.0, of the authors' weights
rdnet_large.nv_in1k_ft_in1k_384 as timm measures them. Their rate falls from layer to layer by 0.7, which is not in this
config: to train, expect less.
No run of ours stands behind this config yet.

Hardware: 8 GPUs (memory and time not measured yet); less memory with model.backbone.memory_efficient=True.
Train:    bash tools/dist_train.sh configs/rdnet-large-384_8xb64_in1k.py 8 --amp --cfg-options load_from=AT_224.pth
Test:     python tools/test.py configs/rdnet-large-384_8xb64_in1k.py CHECKPOINT
"""

_base_ = 'rdnet-large_8xb64_in1k.py'
model = dict(backbone=dict(drop_path_rate=0.6), train_cfg=None)  # no Mixup and CutMix; the authors' values, as below
train_pipeline = _base_.train_pipeline
train_pipeline[1].scale = 384
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=384, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=384),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=2e-5, weight_decay=1e-8))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=True, begin=0, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=25, eta_min=1e-6, by_epoch=True, begin=5, end=30, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=30)
