"""Facts about a model and its evaluation, as sentences for the report on a study."""

import platform
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import mmengine
import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import BaseModel

from mmdensenet.analysis.report.cards import data_card, model_card
from mmdensenet.analysis.report.paths import short_path, without_folders
from mmdensenet.datasets.table import read_table
from mmdensenet.datasets.wrappers import leaf_configs
from mmdensenet.results.class_metrics import FEWEST_IMAGES, Metric
from mmdensenet.results.decisions import Decided, Decisions
from mmdensenet.results.scores import Scores
from mmdensenet.version import __version__

#: what the images are called that a model is judged on
TEST_PART = 'test part'
RESEARCH_ONLY = 'Research use only. This is no medical device: it must not be used to diagnose, treat or triage people.'


def study_facts(
    cfg: Config,
    model: BaseModel,
    checkpoint: str,
    scores: Scores,
    overall: list[Metric],
    resamplings: int,
    decisions: Decisions | None = None,
    known: Mapping[str, str] | None = None,
    tested: str = TEST_PART,
    decided: Decided | None = None,
) -> dict[str, str]:
    """Return the known facts as sentences, by the names that :mod:`mmdensenet.analysis.checklists` uses.

    Args:
        scores, overall: of the test part, and its metrics with intervals.
        decisions: of the checkpoint; None says that the scores are uncalibrated.
        known: what the caller knows better, in the place of what is found here.
        tested: what the images of ``scores`` are called.
        decided: what is decided of them; by default by ``decisions``.
    """
    sent = without_folders(cfg)
    card = dict(model_card(sent, model, checkpoint, getattr(model, '_checkpoint_meta', None) or {}))
    data = dict(data_card(sent, scores, len(scores)))
    several = scores.multi_label
    if decided is None and decisions is not None:
        decided = decisions.apply_to(scores)
    facts = dict(
        technology=f'Deep learning: {card["model"]}, {card.get("architecture", "a convolutional network")}.',
        goal=f'A model is developed that {"finds labels in" if several else "classifies"} images, and evaluated on '
        f'images of the same data ({tested}).',
        source=_sentence('Training data as the config names them', card.get('training data')),
        preprocessing=_sentence('Steps', data.get('preparation')) + _sentence(' Values', card.get('normalisation')),
        missing=_missing(cfg, data),
        **_partitions(cfg),
        sample_size=f'{tested.capitalize()}: {_size(scores)}; {_counts(scores)}.',
        model=f'{card["model"]}; {card.get("architecture", "")}; {card["parameters"]} parameters; '
        f'{card.get("classes")} {"labels" if several else "classes"}: {", ".join(scores.classes)}.',
        software=f'mmdensenet {__version__} (Apache-2.0), mmengine {mmengine.__version__}, torch {torch.__version__}, '
        f'Python {platform.python_version()}.',
        initialisation=_initialisation(cfg),
        training=_training(sent, card),
        selection=_selection(cfg),
        ensembling='None: one model.',
        metrics=f'{", ".join(metric.name for metric in overall)}.',
        uncertainty=_uncertainty(scores, resamplings, tested),
        explainability='Grad-CAM of the most confident errors, in the report.',
        internal=f'On images of the same data ({tested}): {_size(scores)}.',
        participants=f'{tested.capitalize()}: {_size(scores)}; {_counts(scores)}.',
        performance='; '.join(map(_with_interval, overall)) + '.',
        precision=_uncertainty(scores, resamplings, tested),
        failures='The errors that the model was surest of are in the report, with pictures.',
        predictors='The pixels of one image; nothing else enters the model.',
        output=_output(decisions, several),
        cutoffs=_cutoffs(decisions, scores),
        imbalance=_imbalance(cfg),
        crosstab=_cross_tabulation(scores, decisions, decided),
        blinding='The model is given the image only.',
        poor_input=_poor_input(decisions),
        undecided=''
        if decisions is None or not decisions.undecided
        else f'Never predicted, for there were too few images to choose a threshold: {", ".join(decisions.undecided)}.',
        updating='None.',
        availability=f'Weights: {card["checkpoint"]}.',
        limitations='Intervals say how results vary with other images of the same kind, not with another training, '
        f'site or scanner.{_few(scores)}',
        use=RESEARCH_ONLY,
    )
    return {name: text for name, text in {**facts, **(known or {})}.items() if text}


def _sentence(name: str, value: str | None) -> str:
    return f'{name}: {value}.' if value else ''


def _size(scores: Scores) -> str:
    groups = '' if scores.groups is None else f' of {len(set(scores.groups.tolist())):,} groups (such as patients)'
    return f'{len(scores):,} images{groups}'


def _counts(scores: Scores) -> str:
    return ', '.join(f'{name} {int(count):,}' for name, count in zip(scores.classes, (scores.targets == 1).sum(0)))


def _few(scores: Scores) -> str:
    counts = (scores.targets == 1).sum(0)
    few = [f'{name} ({int(n)})' for name, n in zip(scores.classes, counts) if n < 10 * FEWEST_IMAGES]
    return f' Few images, so that figures are uncertain, of: {", ".join(few)}.' if few else ''


def _missing(cfg: Config, data: dict) -> str:
    stated = [
        dataset
        for loader in ('train_dataloader', 'test_dataloader')
        for _, dataset in leaf_configs((cfg.get(loader) or {}).get('dataset'))
    ]
    if 'label_policies' in cfg:  # of `mmdensenet fit`, whose table of samples is made of another one
        stated = [cfg['label_policies']]
    policies = {
        f'{key} labels count as {each[key]}' for each in stated for key in ('uncertain', 'missing') if each.get(key)
    }
    known = [f'{data["known labels"]} labels of the test part are known'] if 'known labels' in data else []
    return _sentence('Labels', '; '.join([*sorted(policies), *known]))


def _partitions(cfg: Config) -> dict[str, str]:
    """Describe how the table was divided, and whether each group is in one part, by the table's columns."""
    for _, dataset in leaf_configs((cfg.get('test_dataloader') or {}).get('dataset')):
        column, rule, group = (dataset.get(key) for key in ('split_column', 'split_by', 'group_column'))
        if rule:
            share = ', '.join(f'{key} {value}' for key, value in rule.items())
            level = f'A {rule["group"]} is in one part only.' if rule.get('group') else 'Images; no group is known.'
            return dict(partitions=f'By the config: {share}.', partition_level=level)
        file = Path(dataset.get('data_root') or '', dataset.get('ann_file') or '')
        if not column or not file.is_file():
            continue
        rows = [row for row in read_table(file).rows if row.get(column)]
        counts = Counter(row[column] for row in rows)
        facts = dict(partitions=f'{", ".join(f"{part} {n:,} images" for part, n in counts.items())}.')
        if group and all(group in row for row in rows):
            pairs = {(row[group], row[column]) for row in rows}
            groups = Counter(name for name, _ in pairs)
            several = sum(n > 1 for n in groups.values())
            level = f'{several:,} of {len(groups):,} are in several parts' if several else 'each is in one part only'
            facts['partition_level'] = (
                'Images; no group is known.' if len(groups) == len(rows) else f'Groups, such as patients: {level}.'
            )
        return facts
    return {}


def _initialisation(cfg: Config) -> str:
    init = (cfg.model.get('backbone') or {}).get('init_cfg') or {}
    init = init[0] if isinstance(init, (list, tuple)) and init else init
    source = cfg.get('load_from') or (init.get('checkpoint') if isinstance(init, dict) else None)
    return f'Weights of {short_path(str(source))}.' if source else 'Random, by the config.'


def _training(cfg: Config, card: dict) -> str:
    loaders = leaf_configs((cfg.get('train_dataloader') or {}).get('dataset'))
    steps = [str(step.get('type')) for _, dataset in loaders for step in dataset.get('pipeline') or ()]
    rows = [(name, card.get(name)) for name in ('trained for', 'training batch', 'optimiser', 'loss', 'seed')]
    rows.append(('steps of the training pipeline', ', '.join(dict.fromkeys(steps))))
    return '; '.join(f'{name}: {value}' for name, value in rows if value) + '.'


def _selection(cfg: Config) -> str:
    best = ((cfg.get('default_hooks') or {}).get('checkpoint') or {}).get('save_best')
    return f'The epoch that was best on the validation part by {best}.' if best else ''


def _uncertainty(scores: Scores, resamplings: int, tested: str) -> str:
    what = 'images' if scores.groups is None else 'groups, such as patients'
    return f'95% percentile intervals over {resamplings:,} resamplings of the {what} of the {tested}.'


def _with_interval(metric: Metric) -> str:
    value, digits, unit = metric.estimate, metric.digits, metric.unit
    text = f'{metric.name} {value.value:.{digits}f}{unit}'
    return text if value.low != value.low else f'{text} ({value.low:.{digits}f} to {value.high:.{digits}f}{unit})'


def _output(decisions: Decisions | None, several: bool) -> str:
    what = 'One probability for each label' if several else 'Probabilities of the classes, which sum to 1'
    if decisions is None:
        return f'{what}, uncalibrated.'
    known = [f'{value:.3g}' for value in decisions.temperatures if value is not None]
    temperature = f'logits are divided by a temperature of {", ".join(known)}' if known else 'uncalibrated'
    return f'{what}; {temperature}, fitted on {decisions.samples:,} images ({decisions.part}).'


def _cutoffs(decisions: Decisions | None, scores: Scores) -> str:
    if decisions is None or not any(decisions.points):
        if scores.multi_label and decisions is not None:
            return 'None: no label is decided.'
        if scores.multi_label:
            return f'A label is predicted from a score of {scores.threshold:g} on, which was not fitted.'
        return 'None: the class with the largest probability is predicted.'
    names = decisions.classes if len(decisions.points) == len(decisions.classes) else decisions.classes[1:]
    points = [f'{n}: from {p.threshold:.3f} on ({p.rule})' for n, p in zip(names, decisions.points) if p]
    return f'Chosen on {decisions.part} before the test: {"; ".join(points)}.'


def _poor_input(decisions: Decisions | None) -> str:
    if decisions is None or decisions.ood_threshold is None:
        return 'A file that cannot be read is refused by name; images of another kind are not recognised as such.'
    return (
        'A file that cannot be read is refused by name; an image with an energy above the threshold of '
        f'{decisions.part} is marked as unlike those images.'
    )


def _imbalance(cfg: Config) -> str:
    loss = (cfg.model.get('head') or {}).get('loss') or {}
    given = [f'{key} {loss[key]}' for key in ('pos_weight', 'class_weight') if loss.get(key) is not None]
    sampler = ((cfg.get('train_dataloader') or {}).get('sampler') or {}).get('type', '')
    given += [str(sampler)] if 'Balanced' in str(sampler) else []
    return (
        f'Handled by {", ".join(given)}.' if given else 'Not handled: neither weights of the loss nor of the sampler.'
    )


def _cross_tabulation(scores: Scores, decisions: Decisions | None, decided: Decided | None) -> str:
    if not scores.multi_label and len(scores.classes) > 2 and not (decisions and decisions.points):
        return 'In the report (confusion matrix).'
    predicted = scores.predicted if scores.multi_label else np.eye(len(scores.classes), dtype=bool)[scores.predicted]
    if decided is not None:
        predicted = decided.positive
    rows = []
    for i in [1] if len(scores.classes) == 2 and not scores.multi_label else range(len(scores.classes)):
        if scores.classes[i] in {*scores.undecided, *(decisions.undecided if decisions is not None else ())}:
            rows.append(f'{scores.classes[i]}: not decided')
            continue
        there, absent = scores.targets[:, i] == 1, scores.targets[:, i] == 0
        found = predicted[:, i]
        kinds = dict(found=there & found, missed=there & ~found)
        kinds |= {'wrongly found': absent & found, 'rightly not found': absent & ~found}
        rows.append(f'{scores.classes[i]}: {", ".join(f"{int(each.sum())} {name}" for name, each in kinds.items())}')
    return '; '.join(rows) + '.'
