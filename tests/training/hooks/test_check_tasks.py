"""Labels, heads and metrics of several tasks are compared before the first step."""

import json
from types import SimpleNamespace

import pytest
from mmpretrain.registry import DATASETS, METRICS, MODELS

from mmdensenet.errors import UserError
from mmdensenet.training.hooks.check_tasks import require_tasks

ACCURACY = [dict(type='mmpretrain.Accuracy', topk=(1,))]


def linear(classes: int) -> dict:
    return dict(type='mmpretrain.LinearClsHead', num_classes=classes, in_channels=4)


def several(**heads) -> dict:
    return dict(type='mmpretrain.MultiTaskHead', task_heads=heads)


def check(tmp_path, labels: list, heads: dict, evaluated: dict | None = None):
    samples = [dict(img_path=f'{i}.png', gt_label=label) for i, label in enumerate(labels)]
    (tmp_path / 'a.json').write_text(json.dumps(dict(data_list=samples)))
    dataset = DATASETS.build(dict(type='mmpretrain.MultiTaskDataset', ann_file='a.json', data_root=str(tmp_path)))
    evaluator = None
    if evaluated is not None:
        evaluator = SimpleNamespace(metrics=[METRICS.build(dict(type='mmpretrain.MultiTasksMetric', **evaluated))])
    require_tasks(MODELS.build(several(**heads)), 'val_dataloader', dataset, evaluator)


HEADS = dict(kind=linear(3), dark=linear(2))
GOOD = [dict(kind=0), dict(dark=1), {}, dict(kind=2, other=7)]


def test_what_fits(tmp_path):
    check(tmp_path, GOOD, HEADS)
    check(tmp_path, [dict(kind=0)], HEADS, dict(task_metrics=dict(kind=ACCURACY)))
    check(tmp_path, [{}, {}], HEADS)  # that a part has no labels at all is said elsewhere
    nested = dict(kind=linear(3), look=several(dark=linear(2)))
    inner = dict(type='mmpretrain.MultiTasksMetric', task_metrics=dict(dark=ACCURACY))
    check(tmp_path, [dict(kind=0, look=dict(dark=1))], nested, dict(task_metrics=dict(kind=ACCURACY, look=[inner])))
    require_tasks(MODELS.build(linear(3)), 'train_dataloader', None)


@pytest.mark.parametrize(
    ('labels', 'heads', 'evaluated', 'message'),
    [
        ([*GOOD, dict(kind=3)], HEADS, None, r"4\.png \(val_dataloader\) has label 3 for 'kind', .* 3 classes, 0 to 2"),
        ([*GOOD, dict(dark=-1)], HEADS, None, r"4\.png .* has label -1 for 'dark'"),
        ([dict(kind='cat')], HEADS, None, r"0\.png .* has the label 'cat' for 'kind': not the number of a class"),
        ([dict(kind=0.5)], HEADS, None, r"0\.png .* has the label 0.5 for 'kind'"),
        ([dict(kind=0, drak=1)], HEADS, None, r"no label for the task 'dark'; there are 'drak', 'kind'\. Is it 'drak'"),
        (GOOD[:1], HEADS, dict(kind=ACCURACY, dark=ACCURACY), r"no label for the task 'dark'; there are 'kind'\."),
        (GOOD, HEADS, dict(knd=ACCURACY), r"task_metrics: no head for the task 'knd'; .*Is it 'kind'\?"),
        ([dict(look=dict(dark=2))], dict(look=several(dark=linear(2))), None, r"label 2 for 'look.dark'"),
    ],
)
def test_what_does_not(tmp_path, labels, heads, evaluated, message):
    with pytest.raises(UserError, match=message):
        check(tmp_path, labels, heads, None if evaluated is None else dict(task_metrics=evaluated))
