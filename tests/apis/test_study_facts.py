"""What is said of a study: partitions as the table has them, and what the decisions found and missed."""

import numpy as np
import pytest
from made_scores import several, single, with_logits
from mmengine.config import Config

from mmdensenet.apis.fit.decide import decide
from mmdensenet.apis.study_facts import _cross_tabulation, _missing, _partitions


@pytest.mark.parametrize(
    ('rows', 'level'),
    [
        ('p1,train p1,train p2,test', 'Groups, such as patients: each is in one part only.'),
        ('p1,train p1,test p2,test', 'Groups, such as patients: 1 of 2 are in several parts.'),
        ('p1,train p2,train p3,test', 'Images; no group is known.'),
    ],
)
def test_a_table_with_parts(tmp_path, rows, level):
    (tmp_path / 't.csv').write_text('\n'.join(['group,split', *rows.split()]))
    dataset = dict(data_root=str(tmp_path), ann_file='t.csv', split_column='split', group_column='group')
    facts = _partitions(Config(dict(test_dataloader=dict(dataset=dataset))))
    counts = [rows.count(part) for part in ('train', 'test')]
    assert facts['partitions'] == f'train {counts[0]} images, test {counts[1]} images.'
    assert facts['partition_level'] == level


def test_a_rule_of_the_config():
    dataset = dict(split_by=dict(folds=5, fold=0, group='patient'))
    facts = _partitions(Config(dict(test_dataloader=dict(dataset=dataset))))
    assert facts == dict(
        partitions='By the config: folds 5, fold 0, group patient.', partition_level='A patient is in one part only.'
    )
    assert _partitions(Config(dict(test_dataloader=dict(dataset=dict(type='CustomDataset'))))) == {}


def test_what_unknown_labels_counted_as_is_of_the_table_that_people_have():
    loader = dict(dataset=dict(type='CSVDataset', missing='ignore'))
    assert _missing(Config(dict(test_dataloader=loader)), {}) == 'Labels: missing labels count as ignore.'
    fitted = Config(dict(test_dataloader=loader, label_policies=dict(missing='negative', uncertain='ignore')))
    assert _missing(fitted, {}) == 'Labels: missing labels count as negative; uncertain labels count as ignore.'
    assert _missing(Config(dict(test_dataloader=loader, label_policies={})), {}) == ''


def test_the_cross_tabulation_is_of_what_is_decided():
    scores = with_logits(several(300, 3))
    scores.truth[:, 1] = 0  # of which no operating point can be chosen
    decisions = decide(scores)
    decided = decisions.apply_to(scores)
    text = _cross_tabulation(scores, decisions, decided)
    found = int((decided.positive[:, 0] & (scores.truth[:, 0] == 1)).sum())
    assert text.startswith(f'class 0: {found} found') and '; class 1: not decided; class 2: ' in text
    scores = with_logits(single(300, 3))
    assert _cross_tabulation(scores, decide(scores), None) == 'In the report (confusion matrix).'
    decisions = decide(scores, operating_point='youden')  # the report's matrix is of the largest score
    decided = decisions.apply_to(scores)
    found = int((decided.labels[scores.truth == 2] == 2).sum())
    assert f'; class 2: {found} found, {np.bincount(scores.truth)[2] - found} missed' in _cross_tabulation(
        scores, decisions, decided
    )
