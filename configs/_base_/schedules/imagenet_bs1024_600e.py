# torchvision's recipe of 2021: SGD, 600 epochs of which 5 are warm-up, cosine, averaged weights.
optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.5, momentum=0.9, weight_decay=2e-5),
    paramwise_cfg=dict(norm_decay_mult=0.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=True, begin=0, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=595, by_epoch=True, begin=5, end=600, convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=600, val_interval=5)
val_cfg = dict()
test_cfg = dict()
# what torchvision's --model-ema-decay 0.99998 --model-ema-steps 32 mean for batch 1024 and 600 epochs
custom_hooks = [dict(type='EMAHook', momentum=0.0011, interval=32, update_buffers=True)]

# for --auto-scale-lr: the batch, over all GPUs, that the lr above is for
auto_scale_lr = dict(base_batch_size=1024)
