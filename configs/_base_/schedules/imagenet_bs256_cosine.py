# Batch 256 with a cosine schedule from lr 0.1 to 0, set after each iteration, as the technical report
# (arXiv:1707.06990) has for its two "cosine" models. Epochs as in the paper's other ImageNet runs: 90.
_base_ = 'imagenet_bs256.py'

param_scheduler = dict(
    _delete_=True, type='CosineAnnealingLR', T_max=90, eta_min=0, by_epoch=True, end=90, convert_to_iter_based=True
)
