"""The figures of a checkpoint's decisions as a metric of a test."""

import math
from collections.abc import Sequence

from mmengine.evaluator import BaseMetric

from .decided_figures import figures
from .decisions import Decisions
from .scores import scores_of_columns

#: the most labels with figures each; the report has those of more
MOST_LABELS = 20


class DecidedMetric(BaseMetric):
    """Figures of decisions as fractions of 1: accuracy, calibration, coverage and so on as ``decided/NAME``, and those
    of each label as ``decided/NAME/LABEL``; see :class:`.judgement.Judgement`. It omits undefined figures, and those of
    labels if there are more than 20. It works across ranks.

    The samples need ``logits``, see :func:`.decided.keeping_logits`.
    """

    default_prefix = 'decided'
    FIELDS = ('pred_score', 'logits', 'gt_label', 'gt_score')

    def __init__(self, decisions: Decisions):
        super().__init__(collect_device='cpu')
        self.decisions = decisions

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            self.results.append({key: sample[key].cpu().numpy() for key in self.FIELDS if key in sample})

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        columns = {key: [row[key] for row in results] for key in self.FIELDS if all(key in row for row in results)}
        decisions = self.decisions
        scores = scores_of_columns(columns, 'the test set', decisions.multi_label, decisions.classes)
        overall, labels = figures(
            scores,
            decisions.apply_to(scores),
            undecided=decisions.undecided,
            without_sets=decisions.without_sets,
            curves=False,
        )
        found = {name.replace(' ', '_'): value.value for name, value in overall.items()}
        for label in labels if len(labels) <= MOST_LABELS else ():
            for name in ('sensitivity', 'specificity', 'PPV', 'NPV'):
                found[f'{name}/{label.name}'] = label.figures[name].value
        return {name: float(value) for name, value in found.items() if math.isfinite(value)}
