"""Several models as one: the mean of their calibrated probabilities."""

import hashlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax
from torch import nn

from mmdensenet.export.ensemble import Ensemble, EnsembleScores, mean_logits
from mmdensenet.results.decisions import energy


@pytest.mark.parametrize('labels', [False, True])
def test_scores_are_the_mean_of_the_members(labels):
    torch.manual_seed(0)
    members = [nn.Linear(5, 3) for _ in range(3)]
    for member in members:
        member.logits, member.multi_label = member.forward, labels
    temperatures = [0.5, 2.0, 3.0] if labels else [2.0]
    images = torch.randn(7, 5)
    expected = torch.stack([member(images) / torch.tensor(temperatures) for member in members])
    expected = (expected.sigmoid() if labels else expected.softmax(2)).mean(0)
    torch.testing.assert_close(EnsembleScores(members, temperatures)(images), expected)


def test_members_get_images_with_their_own_mean_and_deviation():
    torch.manual_seed(0)
    members = [nn.Sequential(nn.Conv2d(3, 2, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten()) for _ in range(2)]
    for member in members:
        member.logits, member.multi_label = member.forward, True
    means, deviations = torch.tensor([[100.0, 90, 80], [120, 70, 85]]), torch.tensor([[50.0, 60, 70], [40, 65, 71]])
    pixels = torch.randint(0, 256, (5, 3, 8, 8)).float()
    own = [(pixels - m.view(3, 1, 1)) / s.view(3, 1, 1) for m, s in zip(means, deviations)]
    expected = torch.stack([member(images).sigmoid() for member, images in zip(members, own)]).mean(0)
    found = EnsembleScores(members, [1.0, 1.0], [(means[0], deviations[0]), *zip(means, deviations)])
    torch.testing.assert_close(found(own[0]), expected)
    found = EnsembleScores(members, [1.0, 1.0], [(torch.zeros(3), torch.ones(3)), *zip(means, deviations)])
    torch.testing.assert_close(found(pixels), expected)
    assert (EnsembleScores(members, [1.0, 1.0])(own[0]) - expected).abs().max() > 0.005


def test_the_hash_is_of_the_hashes_of_all_checkpoints(tmp_path):
    files = [tmp_path / name for name in 'ab']
    for file in files:
        file.write_bytes(file.name.encode())
    hashes = [hashlib.sha256(name).hexdigest() for name in (b'a', b'b')]
    found = Ensemble(tuple(map(str, files)), (1.0,), SimpleNamespace())
    assert found.sha256 == hashlib.sha256(''.join(hashes).encode()).hexdigest()


@pytest.mark.parametrize('labels', [False, True])
def test_logits_of_an_ensemble(labels):
    """Their scores are the mean of the scores, also where these are 0 or 1 to rounding."""
    logits = np.random.default_rng(0).normal(0, 10, (3, 50, 4))
    logits[:, 0] = 200 * np.sign(logits[:, 0])
    found = mean_logits(torch.from_numpy(logits), labels).numpy()
    of = expit if labels else (lambda values: softmax(values, axis=-1))
    assert of(found) == pytest.approx(of(logits).mean(0), rel=1e-9)
    assert mean_logits(torch.from_numpy(logits).float(), labels).isfinite().all()
    if not labels:
        mean = np.mean([energy(each, False) for each in logits], axis=0)
        assert energy(found, False) == pytest.approx(mean)
