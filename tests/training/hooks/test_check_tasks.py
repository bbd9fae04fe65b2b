"""Labels, heads and metrics of several tasks are compared before the first step."""

import json
from types import SimpleNamespace

import pytest
from mmpretrain.registry import DATASETS, METRICS, MODELS

from mmdensenet.datasets.class_lists import class_lists, require_same_classes
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
        (
            [dict(kind=0, drak=1)],
            HEADS,
            None,
            r"no label for the task 'dark'; there are 'drak', 'kind'\. Did you mean drak\?",
        ),
        (GOOD[:1], HEADS, dict(kind=ACCURACY, dark=ACCURACY), r"no label for the task 'dark'; there are 'kind'\."),
        (GOOD, HEADS, dict(knd=ACCURACY), r"task_metrics: no head for the task 'knd'; .*Did you mean kind\?"),
        ([dict(look=dict(dark=2))], dict(look=several(dark=linear(2))), None, r"label 2 for 'look.dark'"),
    ],
)
def test_what_does_not(tmp_path, labels, heads, evaluated, message):
    with pytest.raises(UserError, match=message):
        check(tmp_path, labels, heads, None if evaluated is None else dict(task_metrics=evaluated))


def list_of(tmp_path, **metainfo):
    (tmp_path / 'a.json').write_text(
        json.dumps(dict(metainfo=metainfo, data_list=[dict(img_path='0.png', gt_label=dict(kind=1, dark=0))]))
    )
    dataset = DATASETS.build(dict(type='mmpretrain.MultiTaskDataset', ann_file='a.json', data_root=str(tmp_path)))
    return class_lists(dataset, 'val')


FORMS = {
    'classes': lambda kind: dict(tasks=['kind', 'dark'], classes=dict(kind=kind, dark=['n', 'y'])),
    'tasks': lambda kind: dict(tasks=dict(dark=['n', 'y'], kind=kind)),
    'listed': lambda kind: dict(tasks=[dict(name='kind', classes=kind), dict(name='dark', classes=['n', 'y'])]),
    'flat': lambda kind: dict(tasks=['kind', 'dark'], kind_classes=kind, dark_classes=['n', 'y']),
}


@pytest.mark.parametrize('form', FORMS)
def test_names_of_each_task_are_compared(tmp_path, form):
    first = list_of(tmp_path, **FORMS['classes'](['a', 'b', 'c']))
    same = list_of(tmp_path, **FORMS[form](['a', 'b', 'c']))
    assert {each.task: each.names for each in same} == dict(kind=('a', 'b', 'c'), dark=('n', 'y'))
    require_same_classes([*first, *same])
    with pytest.raises(UserError, match=r"val, task 'kind', has the classes .* its label 0 is 'c', not 'a'"):
        require_same_classes([*first, *list_of(tmp_path, **FORMS[form](['c', 'b', 'a']))])


def test_names_and_the_head_of_their_task(tmp_path):
    list_of(tmp_path, classes=dict(kind=['a', 'b']))
    dataset = DATASETS.build(dict(type='mmpretrain.MultiTaskDataset', ann_file='a.json', data_root=str(tmp_path)))
    head = MODELS.build(several(kind=linear(3), dark=linear(2)))
    with pytest.raises(UserError, match="metainfo names 2 classes of 'kind', and its head has 3"):
        require_tasks(head, 'val_dataloader', dataset)
