# ImageNet-1k as imagenet_bs256.py has it, with 64 images per GPU.
_base_ = 'imagenet_bs256.py'

train_dataloader = dict(batch_size=64)
