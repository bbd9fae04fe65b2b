"""Checks data sets and evaluators for heads of several tasks before the first step."""

from collections.abc import Iterable, Iterator
from numbers import Integral

from mmpretrain.evaluation import MultiTasksMetric
from mmpretrain.models.heads import MultiTaskHead

from mmdensenet.datasets.stated_classes import names_by_task
from mmdensenet.datasets.wrappers import leaves, sample_info
from mmdensenet.errors import UserError
from mmdensenet.similar import did_you_mean


def require_tasks(head, key: str, dataset, evaluator=None) -> None:
    """Compare the labels of a part with the heads of the tasks, and the evaluated tasks with both.

    A task without any label has no loss, and mmpretrain reports an accuracy of 0 for it. Single images may lack labels.
    Labels of tasks without a head are allowed: a model may learn only some of the tasks.

    Args:
        head: of the model; a head for one task is not checked.
        key: of the part's data loader in the config.
        evaluator: of validation or test. Without one, as in training, every head needs labels.

    Raises:
        UserError: for the first label outside its task's classes, and for a task that the part or the head lacks.
    """
    if not isinstance(head, MultiTaskHead):
        return
    heads = dict(_heads(head))
    evaluated = [task for metric in getattr(evaluator, 'metrics', ()) for task in _tasks_of(metric)]
    for task in evaluated:
        if task not in heads:
            raise UserError(f'MultiTasksMetric.task_metrics: {_no_such(task, heads, "head")}')
    found: set[str] = set()
    for leaf in leaves(dataset):
        for task, names in names_by_task(getattr(leaf, 'metainfo', None)).items():
            classes = getattr(heads.get(task), 'num_classes', None)
            if classes is not None and classes != len(names):
                raise UserError(f'{key}: metainfo names {len(names)} classes of {task!r}, and its head has {classes}.')
        for index in range(len(leaf)):
            info = sample_info(leaf, index)
            for task, label in _labels(info.get('gt_label')):
                found.add(task)
                _require_label(label, task, heads.get(task), info.get('img_path', f'sample {index}'), key)
    for task in heads if evaluator is None else evaluated:
        if task not in found and found:
            raise UserError(f'{key}: {_no_such(task, found, "label")}')


def _heads(head: MultiTaskHead, prefix: str = '') -> Iterator[tuple[str, object]]:
    """The heads that compute scores, with the names of their tasks ('outer.inner' of one inside another)."""
    for task, inner in head.task_heads.items():
        if isinstance(inner, MultiTaskHead):
            yield from _heads(inner, f'{prefix}{task}.')
        else:
            yield f'{prefix}{task}', inner


def _tasks_of(metric, prefix: str = '') -> Iterator[str]:
    for task, metrics in metric._metrics.items() if isinstance(metric, MultiTasksMetric) else ():
        inner = [each for each in metrics if isinstance(each, MultiTasksMetric)]
        if not inner:
            yield f'{prefix}{task}'
        for each in inner:
            yield from _tasks_of(each, f'{prefix}{task}.')


def _labels(given, prefix: str = '') -> Iterator[tuple[str, object]]:
    for task, label in given.items() if isinstance(given, dict) else ():
        if isinstance(label, dict):
            yield from _labels(label, f'{prefix}{task}.')
        else:
            yield f'{prefix}{task}', label


def _require_label(label, task: str, head, place: str, key: str) -> None:
    labels = label if isinstance(label, (list, tuple)) else [label]
    if not all(isinstance(each, Integral) for each in labels):
        raise UserError(f'{place} ({key}) has the label {label!r} for {task!r}: not the number of a class.')
    classes = getattr(head, 'num_classes', None)
    if classes is not None and not all(0 <= each < classes for each in labels):
        raise UserError(
            f'{place} ({key}) has label {label} for {task!r}, but its head has {classes} classes, 0 to {classes - 1}. '
            f'Correct the label, or set model.head.task_heads.{task}.num_classes.'
        )


def _no_such(task: str, known: Iterable[str], what: str) -> str:
    return (
        f'no {what} for the task {task!r}; there are {", ".join(map(repr, sorted(known)))}.{did_you_mean(task, known)}'
    )
