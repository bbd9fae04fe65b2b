"""What the report shows of decisions: the tables' rows, and the labels that have a curve."""

import numpy as np
from made_scores import several, with_logits

from mmdensenet.analysis.report import decisions_section as section
from mmdensenet.apis.fit.decide import decide
from mmdensenet.results.bootstrap import Estimate
from mmdensenet.results.decisions import AUGMENTED, UNCALIBRATED
from mmdensenet.results.judgement import Judgement, LabelJudgement, Subgroup
from mmdensenet.results.net_benefit import decision_curve


def label(name: str, images: int, others: int, **figures: float) -> LabelJudgement:
    curve = decision_curve(np.linspace(0, 1, images + others), np.arange(images + others) % 2) if images else None
    return LabelJudgement(name, images, others, {key: Estimate(value) for key, value in figures.items()}, curve)


def test_without_decisions_that_is_said():
    assert section.decisions_section(None, None) == dict(decision_lines=[UNCALIBRATED], decided=None)
    assert section.decisions_section(None, None, augmented=True)['decision_lines'] == [AUGMENTED]


def test_tables():
    decisions = decide(with_logits(several()), operating_point='f1')
    overall = {'AUROC': Estimate(0.5, 0.25, 0.75), 'Brier uncalibrated': Estimate(0.5)}
    labels = [label('a', 3, 4, AUROC=0.5), label('b', 0, 9), label('c', 2000, 1, AUROC=0.75, Brier=0.25)]
    part = Subgroup('sex', 'F', 1234, overall, [])
    found = section.decisions_section(
        decisions, Judgement(True, 9, None, 0.9, overall, labels, subgroups=[part], caveats=['Few.'])
    )
    assert found['decision_lines'] == decisions.lines()
    shown = found['decided']
    assert shown['confidence'] == '90%' and shown['caveats'] == ['Few.'] and shown['by_group'] is None
    assert shown['overall'][0] == ('AUROC', '0.500', '(0.250 to 0.750)')
    assert shown['labels'] == (
        ['label', 'with it', 'without', 'AUROC', 'Brier'],
        [['a', '3', '4', '0.500 ', ''], ['b', '0', '9', '', ''], ['c', '2,000', '1', '0.750 ', '0.250 ']],
    )
    assert shown['subgroups'] == (
        ['column', 'value', 'images', 'AUROC'],
        [['sex', 'F', '1,234', '0.500 (0.250 to 0.750)']],
    )
    assert [name for name, _ in shown['curves']] == ['a', 'c'], 'those with more images of the rarer kind first'


def test_curves_of_some_labels_only():
    labels = [label(str(i), 2 + i, 50) for i in range(section.MOST_CURVES + 3)]
    found = section.decisions_section(None, Judgement(True, 9, None, 0.95, {}, labels))
    names = [name for name, _ in found['decided']['curves']]
    assert names == [str(i) for i in range(section.MOST_CURVES + 2, 2, -1)]
