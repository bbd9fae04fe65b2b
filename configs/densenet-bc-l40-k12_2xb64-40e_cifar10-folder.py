"""DenseNet-BC (L=40, k=12) on CIFAR-10 as image files, in 40 epochs: data/cifar10_jpeg/{train,test}/CLASS/*.jpg.

_base_/schedules/cifar_40e_bs256.py gives the reason of each value: a triangular learning rate, Nesterov momentum, label
smoothing, averaged weights; and a test with each image's mirror image (--tta). Here for two CPU cores, which a batch of
64 fills: two processes with 64 images each and half of that schedule's rate, which makes twice as many steps.

Expected: an error of at most 8% was the aim for these 176,122 parameters; pytorchcv's weights of this network have
6.43%, after a long training. Ours, one seed: 11.96% with --tta and 12.33% without (7.25% of the training images), on
JPEG files of quality 75 with halved chroma, which hold less than the published images do.
docs/runs/densenet-bc-l40-k12_2xb64-40e_cifar10-folder.json is its log.

Hardware: two CPU cores; a step takes 0.3 s when nothing else runs, all of them 1 h 20 min. On one GPU take
densenet-bc-l100-k12_1xb256-40e_cifar10-folder.py.
Train:    bash tools/dist_train.sh configs/densenet-bc-l40-k12_2xb64-40e_cifar10-folder.py 2
Test:     python tools/test.py configs/densenet-bc-l40-k12_2xb64-40e_cifar10-folder.py CHECKPOINT --tta
"""

_base_ = [
    '_base_/models/densenet-bc-l40-k12_cifar.py',
    '_base_/datasets/cifar10_folder_bs64.py',
    '_base_/schedules/cifar_40e_bs256.py',
    '_base_/default_runtime.py',
]
model = dict(head=dict(loss=dict(_delete_=True, type='LabelSmoothLoss', label_smooth_val=0.1, mode='original')))
train_dataloader = dict(num_workers=1)
optim_wrapper = dict(optimizer=dict(lr=0.2))  # for 2 x 64 images instead of 256
auto_scale_lr = dict(base_batch_size=128)
custom_hooks = [dict(type='EMAHook', momentum=0.0025, update_buffers=True)]  # over about 400 steps: one epoch
