import pytest
import torch
import torch.nn.functional as F

from mmdensenet.errors import UserError
from mmdensenet.models import MaskedBCELoss


@pytest.fixture
def batch():
    torch.manual_seed(0)
    scores = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([[1, 0, -1], [0, -1, 1], [-1, -1, -1], [1, 1, 0]], dtype=torch.float64)
    return scores, target


def test_only_known_labels_count(batch):
    scores, target = batch
    known = target >= 0
    loss = MaskedBCELoss()(scores, target, avg_factor=4)
    assert loss.item() == pytest.approx(F.binary_cross_entropy_with_logits(scores[known], target[known]).item())
    loss.backward()
    assert (scores.grad[~known] == 0).all() and (scores.grad[known] != 0).all()


def test_weights(batch):
    scores, target = batch
    positive, weight = torch.tensor([2.0, 3.0, 0.5]).double(), torch.tensor([1.0, 0.0, 4.0]).double()
    probability = scores.sigmoid()
    terms = -(positive * target * probability.log() + (1 - target) * (1 - probability).log())
    factor = (target >= 0) * weight
    expected = (terms * factor).sum() / factor.sum()
    module = MaskedBCELoss([2.0, 3.0, 0.5], [1.0, 0.0, 4.0], loss_weight=0.5)
    assert module(scores, target).item() == pytest.approx(0.5 * expected.item())
    assert not module.state_dict(), 'checkpoints do not depend on the loss'


def test_nothing_known_gives_zero_with_a_gradient(batch):
    scores, target = batch
    loss = MaskedBCELoss()(scores, torch.full_like(target, -1))
    loss.backward()
    assert loss.item() == 0 and (scores.grad == 0).all()


def test_mistakes(batch):
    scores, target = batch
    with pytest.raises(UserError, match=r'2 labels for a head of 3: set model\.head\.num_classes=2'):
        MaskedBCELoss()(scores, target[:, :2])
    with pytest.raises(UserError, match='pos_weight has 2 values for 3 labels'):
        MaskedBCELoss(pos_weight=[1.0, 2.0])(scores, target)


def test_weights_of_a_model_that_was_made_without_memory():
    """No state dict has them, so nothing would set them after to_empty, and nothing would say so."""
    given = dict(pos_weight=[2.0, 0.3], class_weight=[1.0, 3.0])
    with torch.device('meta'):
        loss = MaskedBCELoss(**given)
    loss = loss.to_empty(device='cpu')
    assert {name: getattr(loss, name).tolist() for name in given} == {
        name: torch.tensor(values).tolist() for name, values in given.items()
    }
