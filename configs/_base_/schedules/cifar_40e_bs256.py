# CIFAR in 40 epochs instead of the paper's 300, on one GPU or a few CPU cores. Each value, and where it comes from:
#
# epochs 40    long enough for a small network to get within a few points of the paper's error, short enough for a CPU.
# batch 256    four times the paper's, so that a step fills a GPU; 50,000 images make 196 steps an epoch, 7,840 in all.
# lr 0.4       the paper's 0.1 for batch 64, scaled linearly (arXiv:1706.02677), as the highest rate, not the first one.
# triangle     up in a fifth of the epochs, then straight down to nearly zero: the large rate does the work and the
#              descent takes its noise away (arXiv:1708.07120; myrtle.ai, "How to train your ResNet"). The rate changes
#              with each step. Two LinearLR and not OneCycleLR, so that --auto-scale-lr has one rate to scale.
# Nesterov     momentum 0.9, the paper's.
# weight decay 5e-4, not 1e-4: with batch norm it sets how soon the weights shrink to where the rate tells, and with a
#              thirtieth of the paper's steps it has to be sooner (myrtle.ai's value).
# EMA          weights averaged over about the last 200 steps, one epoch, with the norms' running statistics: it is what
#              is validated, saved and tested. It takes away noise of single steps, as at myrtle.ai.
# In the configs that inherit this:
# smoothing    label smoothing 0.1 (arXiv:1512.00567). myrtle.ai and arXiv:2404.00498 have 0.2, for networks of ten and
#              more times the parameters, which get surer of themselves.
# flip-TTA     tools/test.py --tta: the mean of the scores of an image and its mirror image, at twice the test's time
#              (both of the above).
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.4, momentum=0.9, weight_decay=5e-4, nesterov=True))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=True, begin=0, end=8, convert_to_iter_based=True),
    dict(
        type='LinearLR',
        start_factor=1.0,
        end_factor=0.002,
        by_epoch=True,
        begin=8,
        end=40,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(by_epoch=True, max_epochs=40, val_interval=4)
val_cfg = dict()
test_cfg = dict()
custom_hooks = [dict(type='EMAHook', momentum=0.005, update_buffers=True)]

# for --auto-scale-lr: the batch, over all GPUs, that the lr above is for
auto_scale_lr = dict(base_batch_size=256)
