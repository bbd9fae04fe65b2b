"""Applies a checkpoint's decisions while it is tested."""

from contextlib import ExitStack
from functools import partial
from typing import Any

from mmengine.hooks import Hook

from mmdensenet.model_wrappers import unwrapped
from mmdensenet.registry import HOOKS
from mmdensenet.results.decided import keeping_logits, note_decisions, read_decisions
from mmdensenet.results.decided_metric import DecidedMetric
from mmdensenet.results.decisions import OTHERS, UNCALIBRATED, Decisions
from mmdensenet.terminal import SHOWN


@HOOKS.register_module()
class DecisionsHook(Hook):
    """Add the results of a checkpoint's decisions to each tested sample: ``logits``, ``calibrated_score``,
    ``decided_label``, ``conformal_set``, ``ood`` and ``ood_score``. Scores, labels and metrics do not change;
    :class:`mmdensenet.results.decided_metric.DecidedMetric` is added to the metrics.

    Args:
        source: the name of the checkpoint in messages.
        logits: add the logits even without decisions.
        decide: False leaves the decisions alone, such as where new ones are made.

    Attributes:
        evaluate: add the metric of the decisions, which needs labels.

    Raises:
        UserError: if the decisions are for other weights, or for images that are prepared otherwise.
    """

    def __init__(self, source: str = 'the checkpoint', logits: bool = False, decide: bool = True):
        self.source, self.logits, self.decide, self.evaluate = source, logits, decide, True
        self.decisions: Decisions | None = None
        self._meta: Any = None
        self._open = ExitStack()

    def after_load_checkpoint(self, runner, checkpoint: Any) -> None:
        self._meta = checkpoint.get('meta') if isinstance(checkpoint, dict) else None

    def before_test(self, runner) -> None:
        model = unwrapped(runner.model)
        loader = getattr(runner, 'cfg', {}).get('test_dataloader')
        self.decisions = read_decisions(self._meta, model, self.source, loader) if self.decide else None
        for line in () if not self.decide else [UNCALIBRATED] if self.decisions is None else self.decisions.lines():
            runner.logger.info(line, extra=None if self.logits else SHOWN)  # with `logits` the caller prints it
        if self.decisions is not None or self.logits:
            then = None if self.decisions is None else partial(note_decisions, self.decisions)
            self._open.enter_context(keeping_logits(model.head, then))
        if self.decisions is not None and self.evaluate:
            if runner.test_evaluator.metrics:
                runner.logger.info(OTHERS, extra=None if self.logits else SHOWN)
            runner.test_evaluator.metrics.append(DecidedMetric(self.decisions))

    def after_test(self, runner) -> None:
        self._open.close()
