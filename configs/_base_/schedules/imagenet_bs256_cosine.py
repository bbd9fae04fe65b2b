# The technical report's cosine schedule (arXiv:1707.06990, section 5): 100 epochs with batch 256, at epoch t a learning
# rate of 0.05 (cos(pi t / 100) + 1), set after each iteration as in the authors' code.
_base_ = 'imagenet_bs256.py'

param_scheduler = dict(
    _delete_=True, type='CosineAnnealingLR', T_max=100, eta_min=0, by_epoch=True, end=100, convert_to_iter_based=True
)
train_cfg = dict(max_epochs=100)
