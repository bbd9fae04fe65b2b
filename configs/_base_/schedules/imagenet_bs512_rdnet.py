# RDNet's authors': AdamW, 300 epochs of which 20 are warm-up from a tenth of the rate, then a cosine to 1e-6, for
# batch 512 (their command: four GPUs, 64 images, gradients of two batches added up).
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0),  # flat: gamma
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=True, begin=0, end=20, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        T_max=280,
        eta_min=1e-6,
        by_epoch=True,
        begin=20,
        end=300,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(by_epoch=True, max_epochs=300, val_interval=1)
val_cfg = dict()
test_cfg = dict()

# for --auto-scale-lr: the batch, over all GPUs, that the lr above is for
auto_scale_lr = dict(base_batch_size=512)
