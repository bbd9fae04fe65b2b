"""The keys and shapes of a classifier, which is not built for that."""

import pytest
from torch import nn

from mmdensenet.convert.classifier import ClassifierArchitecture


class Small(ClassifierArchitecture):
    features = 2

    def __init__(self, num_classes):
        self.num_classes = num_classes

    def modules(self):
        return nn.Sequential(nn.Conv2d(3, 2, 5)), nn.BatchNorm1d(2, affine=False)


def test_shapes():
    backbone = {'backbone.0.weight': (2, 3, 5, 5), 'backbone.0.bias': (2,)}
    neck = {'neck.running_mean': (2,), 'neck.running_var': (2,), 'neck.num_batches_tracked': ()}
    assert Small(None).shapes() == backbone, 'neck and head belong together'
    assert Small(7).shapes() == backbone | neck | {'head.fc.weight': (7, 2), 'head.fc.bias': (7,)}
    with pytest.raises(NotImplementedError):
        ClassifierArchitecture().modules()
