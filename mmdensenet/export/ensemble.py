"""Combines several models into one: the mean of their calibrated probabilities."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmdensenet.checkpoints.checkpoint_file import sha256
from mmdensenet.results.decisions import Decisions

from .fold import ScoresOf


@dataclass(frozen=True)
class Ensemble:
    """The models of a cross-validation.

    Attributes:
        checkpoints: one of each model; all have the same config, but for ``options``.
        temperatures: the divisors of each model's logits: one, or one for each of several labels.
        decisions: on the logits of :func:`mean_logits`.
        options: of each model, what it has otherwise than the config, as ``cfg_options``; none for the config's own.
    """

    checkpoints: tuple[str, ...]
    temperatures: tuple[float, ...]
    decisions: Decisions
    options: tuple[dict, ...] = ()

    @property
    def sha256(self) -> str:
        """The SHA-256 of the checkpoints' hashes."""
        return hashlib.sha256(''.join(map(sha256, self.checkpoints)).encode()).hexdigest()


def mean_logits(logits: Tensor, multi_label: bool) -> Tensor:
    """Logits (N, C) whose sigmoid or softmax is the mean of those of the models' logits (K, N, C).

    Softmax ignores a constant; it is chosen such that the energy of the result is the mean of the models' energies.
    """
    if multi_label:
        return F.logsigmoid(logits).logsumexp(0) - F.logsigmoid(-logits).logsumexp(0)
    energies = logits.logsumexp(2, keepdim=True).mean(0)
    return logits.log_softmax(2).logsumexp(0) - math.log(len(logits)) + energies


class EnsembleScores(nn.Module):
    """Maps normalised images (N, C, H, W) to the mean (N, classes) of the models' calibrated probabilities.

    Args:
        members: K models.
        temperatures: one of each model, or one for each of several labels.
        normalisations: mean and deviation (C,) with which images come, then those of each member. None where all are
            equal.
    """

    def __init__(
        self,
        members: Sequence[ScoresOf],
        temperatures: Sequence[float],
        normalisations: Sequence[tuple[Tensor, Tensor]] | None = None,
    ):
        super().__init__()
        self.members = nn.ModuleList(members)
        scale = shift = None
        if normalisations is not None:
            (given_mean, given_std), *own = [(mean.double(), std.double()) for mean, std in normalisations]
            scale = torch.stack([given_std / std for _, std in own]).float()[:, None, :, None, None]
            shift = torch.stack([(given_mean - mean) / std for mean, std in own]).float()[:, None, :, None, None]
        self.register_buffer('scale', scale)
        self.register_buffer('shift', shift)
        self.register_buffer('temperatures', torch.tensor(temperatures, dtype=torch.float32))
        self.multi_label = members[0].multi_label

    def forward(self, x: Tensor) -> Tensor:
        logits = self.logits(x)
        return torch.sigmoid(logits) if self.multi_label else torch.softmax(logits, 1)

    def logits(self, x: Tensor) -> Tensor:
        """(N, classes), see :func:`mean_logits`."""
        logits = torch.stack(
            [member.logits(self._of(i, x)) / self.temperatures for i, member in enumerate(self.members)]
        )
        return mean_logits(logits, self.multi_label)

    def _of(self, i: int, x: Tensor) -> Tensor:
        """The images as member i has been trained with."""
        return x if self.scale is None else x * self.scale[i] + self.shift[i]
