# ImageNet-1k, trained at 224 and tested at 288 as timm does: a crop of 0.95 of the short side, bicubic. Crops of
# training show objects larger than test images do, so that a network sees them best in larger ones
# (arXiv:1906.06423).
_base_ = 'imagenet_bs256.py'
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=303, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=288),
    dict(type='PackInputs'),
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
