"""Finds, checks and applies the decisions of a checkpoint or an exported file."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from mmengine.model import BaseModel
from torch import nn

from mmdensenet.checkpoints.checkpoint_meta import DECISIONS, hash_weights
from mmdensenet.datasets.stated_classes import names_in_checkpoint
from mmdensenet.errors import UserError
from mmdensenet.results.decisions import Decided, Decisions
from mmdensenet.results.preparation import preparation
from mmdensenet.results.scores import Scores


def decisions_of(model: BaseModel, source: str) -> Decisions | None:
    """The decisions in the checkpoint of a model of :func:`mmdensenet.get_model`; None where it has none.

    Args:
        source: the name of the checkpoint in messages.

    Raises:
        UserError: if they cannot be read, or are for other weights, classes or preparations of images than the model's
            and its config's test pipeline.
    """
    loader = (getattr(model, '_config', None) or {}).get('test_dataloader')
    return read_decisions(getattr(model, '_checkpoint_meta', None), model, source, loader)


def read_decisions(meta: Any, model: BaseModel, source: str, loader: Mapping | None = None) -> Decisions | None:
    """The same from a checkpoint's ``meta``, a model with its weights, and the data loader of the images."""
    if not isinstance(meta, Mapping) or DECISIONS not in meta:
        return None
    decisions = Decisions.from_dict(meta[DECISIONS], source)
    is_other = len(decisions.classes) != getattr(model.head, 'num_classes', None)
    if is_other or decisions.multi_label != is_multi_label(model.head):
        kind = 'labels' if decisions.multi_label else 'classes, one per image'
        raise UserError(
            f'{source}: its decisions are for {len(decisions.classes)} {kind}, and the model is not. Make them again '
            'with `mmdensenet decide`.'
        )
    decisions.require_names(names_in_checkpoint(meta), source)
    if decisions.weights != hash_weights(model.state_dict()):
        raise UserError(
            f'{source}: its decisions (temperature, thresholds) were made for other weights. Make them again with '
            f'`mmdensenet decide`, or remove the entry {DECISIONS!r} of its meta.'
        )
    decisions.require_preparation(preparation(model, loader), source)
    return decisions


def decided_scores(scores: Scores, decided: Decided, undecided: Sequence[str] = ()) -> Scores:
    """The scores of images as calibrated probabilities, with the labels that are decided of them."""
    new = dict(scores=decided.probabilities, logits=decided.logits, positive=decided.positive)
    return replace(scores, undecided=tuple(undecided), **new)


def is_multi_label(head: nn.Module) -> bool:
    from mmpretrain.models.heads import MultiLabelClsHead

    return isinstance(head, MultiLabelClsHead)


@contextmanager
def keeping_logits(head: nn.Module, then: Callable[[Sequence], object] | None = None) -> Iterator[None]:
    """A context in which the samples of ``head.predict`` have ``logits`` (C,), from which their scores are computed.

    Args:
        then: called with these samples.

    Raises:
        UserError: for a head that does not compute its scores as mmpretrain's do.
    """
    if not hasattr(head, '_get_predictions'):
        raise UserError(f'{type(head).__name__} has no logits, so that there are no decisions with it.')
    predictions_of = head._get_predictions

    def with_logits(logits: torch.Tensor, data_samples: Sequence | None) -> Sequence:
        samples = predictions_of(logits, data_samples)
        for sample, row in zip(samples, logits):
            sample.set_field(row.detach(), 'logits', dtype=torch.Tensor)
        if then is not None:
            then(samples)
        return samples

    head._get_predictions = with_logits
    try:
        yield
    finally:
        del head._get_predictions


def decide_samples(decisions: Decisions, samples: Sequence) -> Sequence:
    """Set the scores and labels of data samples to the decisions on their ``logits``, unless these are not finite."""
    for sample in samples:
        logits = sample.logits.cpu().double().numpy()
        if np.isfinite(logits).all():
            decided = decisions.apply(logits[None])
            sample.set_pred_score(torch.from_numpy(decided.probabilities[0]))
            sample.set_pred_label(torch.from_numpy(np.flatnonzero(decided.positive[0])))
    return samples


def note_decisions(decisions: Decisions, samples: Sequence) -> None:
    """Add decisions to data samples with ``logits``, for a file of predictions and for metrics.

    Scores and labels do not change.

    Raises:
        UserError: for logits that are not finite.
    """
    decided = decisions.apply(torch.stack([sample.logits for sample in samples]).cpu().double().numpy())
    for i, sample in enumerate(samples):
        labels = np.flatnonzero(decided.positive[i]).tolist()
        sample.set_field(torch.from_numpy(decided.probabilities[i]), 'calibrated_score')
        sample.set_field(labels if decisions.multi_label else labels[0], 'decided_label')
        if decisions.undecided:
            sample.set_field([decisions.classes.index(name) for name in decisions.undecided], 'undecided_label')
        if decided.sets is not None:
            sample.set_field(np.flatnonzero(decided.sets[i]).tolist(), 'conformal_set')
        if decided.ood is not None:
            sample.set_field(bool(decided.ood[i]), 'ood')
            sample.set_field(float(decided.ood_scores[i]), 'ood_score')


def decided_result(decisions: Decisions, logits: np.ndarray, classes: Sequence[str] | None) -> dict[str, Any]:
    """The result of an inferencer for one image.

    Args:
        logits: (C,).

    Returns:
        ``logits``, ``pred_scores`` (calibrated probabilities), ``pred_label``, ``pred_score`` and, with ``classes``,
        ``pred_class``, of several labels lists; ``conformal_set`` (classes' numbers), ``ood`` and ``ood_score`` where
        there are thresholds for them.

    Raises:
        UserError: if the logits are not finite.
    """
    decided = decisions.apply(np.asarray(logits)[None])
    labels = np.flatnonzero(decided.positive[0]).tolist()
    scores = decided.probabilities[0]
    result: dict[str, Any] = dict(logits=np.asarray(logits), pred_scores=scores)
    if decisions.multi_label:
        result.update(pred_label=labels, pred_score=scores[labels].tolist())
    else:
        result.update(pred_label=labels[0], pred_score=float(scores[labels[0]]))
    if classes is not None:
        result['pred_class'] = [classes[i] for i in labels] if decisions.multi_label else classes[labels[0]]
    if decided.sets is not None:
        result['conformal_set'] = np.flatnonzero(decided.sets[0]).tolist()
    if decided.ood is not None:
        result.update(ood=bool(decided.ood[0]), ood_score=float(decided.ood_scores[0]))
    return result


def plain_decision(result: dict, classes: Sequence[str] | None) -> dict[str, Any]:
    """:func:`decided_result` without scores, for JSON: ``label``, ``class``, ``conformal_set`` (of names, if known),
    ``ood`` and ``ood_score``."""
    plain = {'label': result['pred_label']}
    if classes is not None:
        plain['class'] = result['pred_class']
    if 'conformal_set' in result:
        plain['conformal_set'] = [i if classes is None else classes[i] for i in result['conformal_set']]
    return plain | {name: result[name] for name in ('ood', 'ood_score') if name in result}
