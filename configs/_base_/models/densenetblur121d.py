# timm's densenetblur121d: three 3x3 convolutions as stem, and BlurPool behind its pooling.
_base_ = 'densenet121.py'
model = dict(backbone=dict(stem='deep', stem_blur=True))
