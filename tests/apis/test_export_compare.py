"""The comparison of an exported file: with decisions, of the decided labels, sets and marks."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mmdensenet.apis import export_compare
from mmdensenet.apis.export_images import ExportImages
from mmdensenet.results.decisions import Decisions
from mmdensenet.results.operating_points import OperatingPoint

#: of two labels; the head's threshold of 0.5 is far from those of the decisions
DECISIONS = Decisions(
    multi_label=True,
    classes=('a', 'b'),
    temperatures=(0.5, None),
    points=(OperatingPoint('youden', 0.1, 1.0, 1.0), None),
    coverage=0.9,
    quantiles=(0.75, 0.3),
    ood_threshold=-1.0,
    part='the validation part',
    samples=9,
    weights='',
)


class Model(torch.nn.Module):
    """Whose images are its logits."""

    def logits(self, x):
        return x

    def forward(self, x):
        return x.sigmoid()


def compared(monkeypatch, logits, off, decisions=DECISIONS, several=True):
    """A file whose logits are ``off`` by so much."""
    logits, off = torch.tensor(logits), torch.tensor(off)

    class File:
        def __init__(self, file):
            pass

        def scores(self, images, output):
            given = images + off[: len(images)]
            return (given if output == 'logits' else given.sigmoid()).numpy()

    monkeypatch.setattr(export_compare, 'ExportedModel', File)
    metadata = SimpleNamespace(multi_label=several, threshold=0.5, read_decisions=lambda file: decisions)
    done = SimpleNamespace(file='m.onnx', metadata=metadata, accuracy=None, same_sets=None, same_flags=None)
    targets = [{} if several else dict(gt_label=torch.tensor([i])) for i in range(len(logits))]
    images = ExportImages(range(len(logits)), lambda i: (logits[i], targets[i]))
    export_compare.compare(Model(), lambda pixels: pixels, images, None, done, 10)
    return done


def test_what_is_decided_is_compared(monkeypatch):
    """Both images are on one side of the head's thresholds, and the first is on two of the decisions'."""
    same = np.zeros((2, 2), np.float32)
    logits = np.array([[-1.2, -1.0], [-3.0, -2.0]], np.float32)
    done = compared(monkeypatch, logits, same)
    assert (done.difference, done.agreement, done.same_sets, done.same_flags, done.images) == (0, 1, 1, 1, 2)
    off = np.array([[0.15, 0.0], [0.0, 0.0]], np.float32)
    done = compared(monkeypatch, logits, off)
    assert (done.agreement, done.same_sets, done.same_flags) == (0.75, 0.5, 1)
    enlarged = compared(monkeypatch, np.zeros((2, 2), np.float32), off)
    calibrated = 1 / (1 + np.exp(-2 * 0.15))  # at the temperature of 0.5
    assert enlarged.difference == pytest.approx(calibrated - 0.5, rel=1e-4)
    done = compared(monkeypatch, logits, off, None)
    assert done.agreement == 1 and done.same_sets is None and done.difference < 0.04
    done = compared(monkeypatch, logits, np.array([[0.0, 0.0], [0.0, 3.0]], np.float32))
    assert done.same_flags == 0.5


@pytest.mark.parametrize('several', [True, False])
def test_what_is_not_finite_is_no_agreement(monkeypatch, several):
    """Nor an accuracy: the largest of NaN is the first, which would count as a class."""
    logits = np.zeros((2, 2), np.float32)
    off = np.array([[np.nan, np.nan], [0, 0]], np.float32)
    done = compared(monkeypatch, logits, off, several=several)
    assert done.difference == np.inf and done.agreement == 0.5 and done.accuracy is None
    done = compared(monkeypatch, logits + off, np.zeros_like(off), several=several)
    assert done.difference == np.inf and done.agreement == 0.5 and done.accuracy is None
    done = compared(monkeypatch, logits, np.zeros_like(off), None, several=several)
    assert done.difference == 0 and done.agreement == 1 and (done.accuracy == 0.5 or several)


def test_the_accuracy_is_that_of_what_is_decided(monkeypatch):
    """The second class is decided from a probability of 0.2 on, and has not the largest of either image."""
    decisions = replace(
        DECISIONS, multi_label=False, classes=('a', 'b'), temperatures=(1.0,), quantiles=(0.5,),
        points=(OperatingPoint('youden', 0.2, 0.9, 0.9),),
    )  # fmt: skip
    logits = np.array([[1.0, 0.0], [1.0, 0.0]], np.float32)  # 0.27 of the second; the true classes are 0 and 1
    done = compared(monkeypatch, logits, np.array([[1.0, 0.0], [0.0, 0.0]], np.float32), decisions, several=False)
    assert (done.torch_accuracy, done.accuracy, done.agreement) == (0.5, 1.0, 0.5)
