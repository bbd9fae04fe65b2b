"""The backbones that every tool has to work with (tests/tools/test_every_backbone.py): one line each, in a small size.

A line has the arguments of the backbone, and those of the neck where global average pooling is not all.
"""

_DENSE = dict(type='mmdensenet.DenseNet', arch=dict(growth_rate=4, depths=(2, 2), init_channels=8))
_RDNET = dict(growth_rates=(8, 16, 8), downsample=(1, 2), init_channels=16, depths=(2, 2, 1))

BACKBONES = {
    'DenseNet': (_DENSE, None),
    'DenseNet with a deep stem': (dict(_DENSE, stem='deep', stem_blur=True), None),
    'RDNet': (
        dict(type='mmdensenet.RDNet', arch=_RDNET, layer_scale_init_value=0.5),
        'mmdensenet.NormedAveragePooling',
    ),
}
