"""Binary cross-entropy over the labels that are known."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mmdensenet.errors import UserError
from mmdensenet.registry import MODELS

from .fixed_buffers import FixedBuffers


@MODELS.register_module()
class MaskedBCELoss(FixedBuffers):
    """Binary cross-entropy with logits for several labels, some of them unknown.

    The loss is the mean over the known labels of the batch, weighted by ``class_weight``; without any it is 0.

    Args:
        pos_weight: (L,) factors of the positive terms, such as :meth:`mmdensenet.datasets.CSVDataset.positive_weights`.
        class_weight: (L,) weights of the labels.
        loss_weight: factor of the result.

    Raises:
        UserError: where the numbers of logits, labels and weights differ.
    """

    def __init__(
        self,
        pos_weight: Sequence[float] | None = None,
        class_weight: Sequence[float] | None = None,
        loss_weight: float = 1.0,
    ):
        super().__init__(pos_weight=pos_weight, class_weight=class_weight)
        self.loss_weight = loss_weight

    def forward(self, cls_score: Tensor, target: Tensor, weight: Tensor | None = None, **_) -> Tensor:
        """The loss, a scalar, of logits (N, L) and targets (N, L) from 0 to 1, negative where unknown.

        Args:
            weight: (N,) weights of the samples.
        """
        if cls_score.shape != target.shape:
            raise UserError(
                f'{target.shape[-1]} labels for a head of {cls_score.shape[-1]}: set '
                f'model.head.num_classes={target.shape[-1]}.'
            )
        for name in ('pos_weight', 'class_weight'):
            factors = getattr(self, name)
            if factors is not None and factors.shape != cls_score.shape[1:]:
                raise UserError(f'model.head.loss.{name} has {factors.numel()} values for {cls_score.shape[1]} labels.')
        weights = (target >= 0).to(cls_score.dtype)
        if self.class_weight is not None:
            weights = weights * self.class_weight.to(cls_score.dtype)
        if weight is not None:
            weights = weights * weight.to(cls_score.dtype)[:, None]
        losses = F.binary_cross_entropy_with_logits(
            cls_score, target.clamp_min(0).to(cls_score.dtype), pos_weight=self.pos_weight, reduction='none'
        )
        return self.loss_weight * (losses * weights).sum() / weights.sum().clamp_min(torch.finfo(cls_score.dtype).tiny)
