"""The model card: Markdown with the front matter that model hubs read."""

import json
from collections.abc import Mapping
from pathlib import Path

from mmdensenet.apis.study_facts import RESEARCH_ONLY
from mmdensenet.results.class_metrics import Metric
from mmdensenet.results.scores import Scores

AUTHOR = '*(author)*'


def write_model_card(
    file: Path, facts: Mapping[str, str], overall: list[Metric], scores: Scores, onnx: bool, name: str = 'model'
) -> None:
    """What the model is, what it is for, how it was made and how well it does; '(author)' marks what only people know.

    Args:
        facts: of :func:`mmdensenet.apis.study_facts.study_facts`.
        overall: metrics of the test part, of ``scores``.
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
        ('Results on the test part', [facts.get('participants'), facts.get('uncertainty')]),
        ('Limitations', [facts.get('limitations'), f'Groups of people for whom it may do worse: {AUTHOR}']),
        ('How to use it', _usage(onnx)),
    ]  # fmt: skip
    lines = [*_front_matter(overall, scores, name), '', f'# {name}', '', f'**{RESEARCH_ONLY}**']
    for title, texts in sections:
        lines += ['', f'## {title}', '', '\n\n'.join(text for text in texts if text)]
        if title.startswith('Results'):
            lines += ['', *_table(overall)]
    file.write_text('\n'.join(lines) + '\n', encoding='utf-8')


def _front_matter(overall: list[Metric], scores: Scores, name: str) -> list[str]:
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
        f'    dataset: {{type: private, name: "test part, {len(scores)} images", split: test}}',
        '    metrics:',
    ]
    for metric in overall:
        if metric.estimate.value == metric.estimate.value:
            kind = json.dumps(metric.name.lower().replace(' ', '_'))
            lines.append(
                f'    - {{type: {kind}, value: {round(metric.estimate.value, 4)}, name: {json.dumps(metric.name)}}}'
            )
    return [*lines, '---']


def _table(overall: list[Metric]) -> list[str]:
    lines = ['| metric | value | 95% interval |', '| --- | --- | --- |']
    for metric in overall:
        value, digits = metric.estimate, metric.digits
        interval = '' if value.low != value.low else f'{value.low:.{digits}f} to {value.high:.{digits}f}'
        shown = '' if value.value != value.value else f'{value.value:.{digits}f} {metric.unit}'.strip()
        lines.append(f'| {metric.name} | {shown} | {interval} |')
    return lines


def _usage(onnx: bool) -> list[str]:
    model = 'model.onnx' if onnx else 'CONFIG --checkpoint CHECKPOINT'
    return [f'```bash\npip install "mmdensenet[lite,export]"\nmmdensenet predict IMAGES --model {model}\n```']
