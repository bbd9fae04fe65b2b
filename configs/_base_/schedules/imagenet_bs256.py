# The paper's ImageNet schedule (section 4.2): batch 256, 90 epochs, lr 0.1 divided by 10 at epochs 30 and 60, SGD with
# Nesterov momentum, weight decay 1e-4.
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-4, nesterov=True))
param_scheduler = dict(type='MultiStepLR', by_epoch=True, milestones=[30, 60], gamma=0.1)
train_cfg = dict(by_epoch=True, max_epochs=90, val_interval=1)
val_cfg = dict()
test_cfg = dict()

# for --auto-scale-lr: the batch, over all GPUs, that the lr above is for
auto_scale_lr = dict(base_batch_size=256)
