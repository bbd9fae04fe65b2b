"""The model card: Markdown with the front matter that model hubs read."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmdensenet.apis.study_facts import RESEARCH_ONLY, TEST_PART
from mmdensenet.results.class_metrics import Metric
from mmdensenet.results.judgement import Judgement

AUTHOR = '*(author)*'


@dataclass(frozen=True)
class Figure:
    """A metric of the test part; shares are from 0 to 1, undefined values are None."""

    name: str
    value: float
    low: float | None
    high: float | None


def figures_of(overall: Sequence[Metric], judgement: Judgement | None) -> list[Figure]:
    """Return the metrics of the judgement at its operating points, or without one those of the scores."""
    if judgement is not None:
        found = [(name, estimate, 1) for name, estimate in judgement.overall.items()]
    else:
        found = [(metric.name, metric.estimate, 100 if metric.unit == '%' else 1) for metric in overall]
    figures = []
    for name, estimate, scale in found:
        values = (estimate.value, estimate.low, estimate.high)
        figures.append(Figure(name, *(value / scale if math.isfinite(value) else None for value in values)))
    return [figure for figure in figures if figure.value is not None]


def write_model_card(
    file: Path,
    facts: Mapping[str, str],
    figures: Sequence[Figure],
    images: int,
    judgement: Judgement | None,
    onnx: bool,
    name: str = 'model',
    tested: str = TEST_PART,
) -> None:
    """What the model is, what it is for, how it was made and how well it does; '(author)' marks what only people know.

    Args:
        facts: of :func:`mmdensenet.apis.study_facts.study_facts`.
        figures: of ``images`` images, which are called ``tested``, as ``judgement`` is.
        onnx: there is a model.onnx beside it.
    """
    sections = [
        ('Intended use', [RESEARCH_ONLY, f'Who should use it, for what, and where it was tried: {AUTHOR}']),
        ('Model', [facts.get('model'), facts.get('initialisation'), facts.get('predictors')]),
        ('Output and decisions', [facts.get('output'), facts.get('cutoffs'), facts.get('undecided')]),
        ('Images that it cannot judge', [facts.get('poor_input')]),
        ('Data', [facts.get('source'), facts.get('partitions'), facts.get('partition_level'), facts.get('missing'),
                  facts.get('suspicious'), f'Where the images are from, and who labelled them: {AUTHOR}']),
        ('Preparation of images', [facts.get('preprocessing')]),
        ('Training', [facts.get('training'), facts.get('selection'), facts.get('imbalance'), facts.get('software')]),
        (f'Results on the {tested}', [facts.get('participants'), facts.get('uncertainty')]),
        ('Limitations', [facts.get('limitations'), f'Groups of people for whom it may do worse: {AUTHOR}']),
        ('How to use it', _usage(onnx)),
    ]  # fmt: skip
    lines = [*_front_matter(figures, f'{tested}, {images} images', name), '', f'# {name}', '', f'**{RESEARCH_ONLY}**']
    for title, texts in sections:
        lines += ['', f'## {title}', '', '\n\n'.join(text for text in texts if text)]
        if title.startswith('Results'):
            lines += ['', *_table(figures)]
            lines += ['', 'As decided:', '', *(f'- {line}' for line in judgement.lines())] if judgement else []
    file.write_text('\n'.join(lines) + '\n', encoding='utf-8')


def _front_matter(figures: Sequence[Figure], images: str, name: str) -> list[str]:
    """YAML; JSON's strings are YAML's, too."""
    lines = [
        '---',
        'library_name: mmdensenet',
        'pipeline_tag: image-classification',
        'license: unknown',
        'tags: [image-classification, densenet, mmdensenet]',
        'model-index:',
        f'- name: {json.dumps(name)}',
        '  results:',
        '  - task: {type: image-classification}',
        f'    dataset: {{type: private, name: {json.dumps(images)}, split: test}}',
        '    metrics:',
    ]
    for figure in figures:
        kind = json.dumps(figure.name.lower().replace(' ', '_'))
        lines.append(f'    - {{type: {kind}, value: {figure.value:.4f}, name: {json.dumps(figure.name)}}}')
    return [*lines, '---']


def _table(figures: Sequence[Figure]) -> list[str]:
    lines = ['| figure | value | 95% interval |', '| --- | --- | --- |']
    for figure in figures:
        interval = '' if figure.low is None else f'{figure.low:.4f} to {figure.high:.4f}'
        lines.append(f'| {figure.name} | {figure.value:.4f} | {interval} |')
    return lines


def _usage(onnx: bool) -> list[str]:
    model = 'model.onnx' if onnx else 'CONFIG --checkpoint CHECKPOINT'
    return [f'```bash\npip install "mmdensenet[lite,export]"\nmmdensenet predict IMAGES --model {model}\n```']
