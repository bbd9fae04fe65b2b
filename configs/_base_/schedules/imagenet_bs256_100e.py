# The technical report's ImageNet schedule (arXiv:1707.06990, section 5): the paper's, for 100 epochs. The authors' code
# divides the learning rate by 10 every 30 epochs.
_base_ = 'imagenet_bs256.py'

param_scheduler = dict(milestones=[30, 60, 90])
train_cfg = dict(max_epochs=100)
