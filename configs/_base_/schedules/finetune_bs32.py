# Fine-tuning: 30 epochs, lr 0.01 for batch 32, divided by 10 at 50% and 75%.
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-4, nesterov=True))
param_scheduler = dict(type='MultiStepLR', by_epoch=True, milestones=[15, 22], gamma=0.1)
train_cfg = dict(by_epoch=True, max_epochs=30, val_interval=1)
val_cfg = dict()
test_cfg = dict()

# for --auto-scale-lr: the batch, over all GPUs, that the lr above is for
auto_scale_lr = dict(base_batch_size=32)
