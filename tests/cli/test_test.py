"""mmdensenet test: the lines of its metrics."""

from mmdensenet_cli.test import MOST_CLASSES, shown


def test_a_line_for_each_metric_and_each_class():
    metrics = {'accuracy/top1': 95.0, 'decided/Brier': 0.25, 'classes': 2}
    metrics |= {f'decided/{name}/{label}': 0.5 for name in ('PPV', 'NPV') for label in ('cat', 'dog/wolf')}
    assert list(shown(metrics)) == [
        'accuracy/top1: 95.0000',
        'decided/Brier: 0.2500',
        'classes: 2',
        'decided, cat: PPV 0.5000  NPV 0.5000',
        'decided, dog/wolf: PPV 0.5000  NPV 0.5000',
    ]


def test_few_lines_of_many_classes():
    lines = list(shown({f'decided/PPV/{label}': 0.5 for label in range(1000)}))
    assert len(lines) == MOST_CLASSES + 1
    assert lines[-1] == 'decided: 980 more classes, which --out metrics.json --out-item metrics has'
