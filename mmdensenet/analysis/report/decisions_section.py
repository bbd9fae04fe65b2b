"""The report's section on a model's decisions."""

from typing import Any

from mmdensenet.results.bootstrap import Estimate
from mmdensenet.results.decisions import AUGMENTED, UNCALIBRATED, Decisions
from mmdensenet.results.judgement import Judgement, LabelJudgement, in_words

from .plots import net_benefit_chart

#: labels with a decision curve: those with the most images of the rarer kind
MOST_CURVES = 6
#: rows of the tables
MOST_LABELS = 100

Table = tuple[list[str], list[list[str]]]


def decisions_section(
    decisions: Decisions | None, judgement: Judgement | None, augmented: bool = False
) -> dict[str, Any]:
    """Lines, tables and charts by the names of the page's template.

    Args:
        augmented: the scores are means over test-time augmentations.
    """
    content: dict[str, Any] = dict(decision_lines=[AUGMENTED if augmented else UNCALIBRATED], decided=None)
    if decisions is not None:
        content['decision_lines'] = decisions.lines()
    if judgement is None:
        return content
    drawn = [label for label in judgement.labels if label.curve is not None and label.images and label.others]
    drawn.sort(key=lambda label: -min(label.images, label.others))
    subgroups = [[part.column, part.value, f'{part.images:,}', *_cells(part.overall)] for part in judgement.subgroups]
    content['decided'] = dict(
        confidence=f'{judgement.confidence:.0%}',
        stored=None if decisions is None else _stored(decisions),
        overall=[(name, *_parts(name, value)) for name, value in judgement.overall.items()],
        labels=_table(judgement.labels),
        by_group=None if judgement.by_group is None else _table(judgement.by_group),
        subgroups=(['column', 'value', 'images', *_names(judgement.overall)], subgroups) if subgroups else None,
        curves=[(label.name, net_benefit_chart(label.curve)) for label in drawn[:MOST_CURVES]],
        caveats=judgement.caveats,
    )
    return content


def _table(labels: list[LabelJudgement]) -> Table:
    rows = [[each.name, f'{each.images:,}', f'{each.others:,}', *_cells(each.figures)] for each in labels[:MOST_LABELS]]
    # some labels lack figures
    longest = max((label.figures for label in labels), key=len)
    header = ['label', 'with it', 'without', *_names(longest)]
    return header, [row + [''] * (len(header) - len(row)) for row in rows]


def _stored(decisions: Decisions) -> Table | None:
    """Temperature and threshold of each label that has them; None where none has a threshold."""
    which = range(len(decisions.classes)) if len(decisions.points) == len(decisions.classes) else [1]
    if not decisions.points:
        return None
    own = set(decisions.temperatures) - {1.0}  # logits of an ensemble have been divided by theirs
    rows = []
    for i, point in list(zip(which, decisions.points))[:MOST_LABELS]:
        temperature = decisions.temperatures[i if decisions.multi_label else 0]
        rows.append([
            decisions.classes[i],
            *(['none, uncalibrated' if temperature is None else f'{temperature:.4g}'] if own else []),
            'not decided' if point is None else f'{point.threshold:.4g}',
            '' if point is None else point.rule,
        ])  # fmt: skip
    return ['label', *(['temperature'] if own else []), 'decided from a probability of', 'by'], rows


def _names(figures: dict[str, Estimate]) -> list[str]:
    return [name for name in figures if 'uncalibrated' not in name]


def _cells(figures: dict[str, Estimate]) -> list[str]:
    return [' '.join(_parts(name, figures[name])) for name in _names(figures)]


def _parts(name: str, value: Estimate) -> tuple[str, str]:
    """The value, and its interval in brackets or an empty text."""
    text = in_words(name, value).removeprefix(f'{name} ')
    shown, bracket, interval = text.partition(' (')
    return shown, bracket.strip() + interval
