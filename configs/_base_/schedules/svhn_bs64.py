# The paper's SVHN schedule (section 4.2): batch 64, 40 epochs, lr 0.1 divided by 10 at 50% and 75%.
_base_ = 'cifar_bs64.py'

param_scheduler = dict(milestones=[20, 30])
train_cfg = dict(max_epochs=40)
