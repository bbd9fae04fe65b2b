"""Figures of a judged model: as plain data and back, and in words."""

import json
import math

import pytest

from mmdensenet.results.bootstrap import Estimate
from mmdensenet.results.judgement import MOST_LINES, Judgement, LabelJudgement, Subgroup, in_words
from mmdensenet.results.net_benefit import DecisionCurve

NAN = math.nan
LABEL = LabelJudgement(
    'cat', 3, 7, {'AUROC': Estimate(0.75, 0.5, 1.0)}, DecisionCurve((0.1, 0.2), (0.3, 0.2), (0.1, 0))
)
OVERALL = {'accuracy': Estimate(0.5, 0.25, 0.75), 'Brier': Estimate(0.2), 'Brier uncalibrated': Estimate(0.3)}


def judgement(labels=(LABEL,), **more) -> Judgement:
    return Judgement(False, 1234, 5, 0.95, OVERALL, list(labels), **more)


def test_through_json():
    undefined = LabelJudgement('dog', 0, 0, {'AUROC': Estimate(NAN)})
    part = Subgroup('sex', 'F', 6, {'accuracy': Estimate(1.0, 0.5, 1.0)}, [undefined])
    found = judgement([LABEL, undefined], by_group=[LABEL], subgroups=[part], caveats=['Few images.'])
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert plain['labels'][1]['figures']['AUROC']['value'] is None
    again = Judgement.from_dict(plain)
    assert repr(again) == repr(found), 'NaN is not equal to itself'
    assert again.labels[0] == LABEL and math.isnan(again.subgroups[0].labels[0].figures['AUROC'].value)
    assert Judgement.from_dict(judgement().to_dict()).by_group is None


def test_lines():
    part = Subgroup('sex', 'F', 6, {'accuracy': Estimate(1.0, 0.5, 1.0), 'Brier uncalibrated': Estimate(0.3)}, [])
    assert judgement(by_group=[LABEL], subgroups=[part], caveats=['Few images.']).lines() == [
        '1,234 images of 5 groups; intervals of 95%.',
        'accuracy 50.0% (25.0% to 75.0%), Brier 0.200.',
        'Brier uncalibrated 0.300.',
        'cat (3 with, 7 without): AUROC 0.750 (0.500 to 1.000).',
        'cat, by group (3 with, 7 without): AUROC 0.750 (0.500 to 1.000).',
        'sex F (6 images): accuracy 100.0% (50.0% to 100.0%).',
        'Few images.',
    ]
    many = judgement([LABEL] * (MOST_LINES + 2)).lines()
    assert sum(line.startswith('cat') for line in many) == MOST_LINES and many[-1] == '2 more are in the report.'
    exactly = judgement([LABEL] * MOST_LINES, by_group=[LABEL] * (MOST_LINES + 2)).lines()
    assert len(exactly) == 3 + 2 * MOST_LINES and 'by group' in exactly[-1]


@pytest.mark.parametrize(
    ('name', 'value', 'words'),
    [
        ('AUROC', Estimate(0.91234, 0.8711, 0.945), 'AUROC 0.912 (0.871 to 0.945)'),
        ('sensitivity', Estimate(0.91234), 'sensitivity 91.2%'),
        ('log loss uncalibrated', Estimate(1.5, 1.0, 2.0), 'log loss uncalibrated 1.500 (1.000 to 2.000)'),
        ('set size', Estimate(1.25), 'set size 1.250'),
        ('PPV', Estimate(NAN, 0.1, 0.2), 'PPV not defined'),
    ],
)
def test_in_words(name, value, words):
    assert in_words(name, value) == words
