"""The figures of a model with its decisions on images that were not used for fitting, as numbers and as text."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from .bootstrap import Estimate
from .net_benefit import DecisionCurve

#: labels that :meth:`Judgement.lines` names one by one
MOST_LINES = 20


@dataclass(frozen=True)
class LabelJudgement:
    """One label, or one class against the others; shares are of 1.

    Attributes:
        images, others: the numbers of images with and without it; unknown ones are neither.
        figures: by name: 'AUROC' and 'AP' (resampled), 'AUROC (DeLong)', 'sensitivity', 'specificity', 'PPV' and 'NPV'
            at the stored operating point (nan for a label that is not decided), 'Brier', and 'coverage' of its
            conformal sets among the images with it.
        curve: the decision curve; None where no label is known.
    """

    name: str
    images: int
    others: int
    figures: dict[str, Estimate]
    curve: DecisionCurve | None = None


@dataclass(frozen=True)
class Subgroup:
    """The images with one value in a column of the table.

    Attributes:
        overall: as :attr:`Judgement.overall`, of these images; ``labels`` as :attr:`Judgement.labels`, without curves.
    """

    column: str
    value: str
    images: int
    overall: dict[str, Estimate]
    labels: list[LabelJudgement]


@dataclass(frozen=True)
class Judgement:
    """The figures of a model with its decisions.

    Attributes:
        images, groups: how many; groups are None where each image stands for itself.
        confidence: of all intervals.
        overall: by name: 'macro AUROC', 'macro AP', 'accuracy' and 'balanced accuracy' of decided classes or
            'label accuracy' of decided labels, 'Brier', 'log loss' and 'calibration error' with the temperature and
            (with 'uncalibrated' behind) without, 'coverage', 'set size' and 'empty sets' of the conformal sets, and
            'out of distribution', the share that is marked so.
        labels: of each label; of two classes the second.
        by_group: 'AUROC' and 'AP' of each label, of groups in the place of images: the mean probability of a group's
            images, and whether any of them has the label. None without groups.
        subgroups: of the columns asked for.
        caveats: sentences that belong to the figures.
    """

    multi_label: bool
    images: int
    groups: int | None
    confidence: float
    overall: dict[str, Estimate]
    labels: list[LabelJudgement]
    by_group: list[LabelJudgement] | None = None
    subgroups: list[Subgroup] = field(default_factory=list)
    caveats: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; undefined numbers are None."""
        return _plain(asdict(self))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> 'Judgement':
        """The inverse of :meth:`to_dict`."""
        found = dict(values)
        for key in ('labels', 'by_group'):
            found[key] = None if found[key] is None else [_label(each) for each in found[key]]
        found['overall'] = _estimates(found['overall'])
        found['subgroups'] = [
            Subgroup(**{**each, 'overall': _estimates(each['overall']), 'labels': [_label(i) for i in each['labels']]})
            for each in found['subgroups']
        ]
        return cls(**found)

    def lines(self) -> list[str]:
        """The figures as sentences."""
        of = '' if self.groups is None else f' of {self.groups:,} groups'
        lines = [f'{self.images:,} images{of}; intervals of {self.confidence:.0%}.']
        lines.append(_sentence(self.overall))
        if any('uncalibrated' in name for name in self.overall):
            lines.append(_sentence(self.overall, uncalibrated=True))
        for label in self.labels[:MOST_LINES]:
            figures = _sentence(label.figures)
            lines.append(f'{label.name} ({label.images:,} with, {label.others:,} without): {figures}')
        if len(self.labels) > MOST_LINES:
            lines.append(f'{len(self.labels) - MOST_LINES} more are in the report.')
        for label in (self.by_group or [])[:MOST_LINES]:
            figures = _sentence(label.figures)
            lines.append(f'{label.name}, by group ({label.images:,} with, {label.others:,} without): {figures}')
        for part in self.subgroups:
            lines.append(f'{part.column} {part.value} ({part.images:,} images): {_sentence(part.overall)}')
        return lines + self.caveats


def in_words(name: str, value: Estimate) -> str:
    """'AUROC 0.912 (0.871 to 0.945)'; shares other than areas are in percent."""
    percent = name not in ('set size', 'AUROC', 'AP', 'macro AUROC', 'macro AP', 'AUROC (DeLong)')
    percent = percent and not name.startswith(('Brier', 'log loss'))
    write = '{:.1%}'.format if percent else '{:.3f}'.format
    if math.isnan(value.value):
        return f'{name} not defined'
    interval = '' if math.isnan(value.low) else f' ({write(value.low)} to {write(value.high)})'
    return f'{name} {write(value.value)}{interval}'


def _sentence(figures: Mapping[str, Estimate], uncalibrated: bool = False) -> str:
    some = [name for name in figures if ('uncalibrated' in name) == uncalibrated]
    return ', '.join(in_words(name, figures[name]) for name in some) + '.'


def _estimates(figures: Mapping[str, Mapping]) -> dict[str, Estimate]:
    return {
        name: Estimate(**{key: math.nan if number is None else number for key, number in each.items()})
        for name, each in figures.items()
    }


def _label(values: Mapping[str, Any]) -> LabelJudgement:
    curve = values['curve']
    curve = None if curve is None else DecisionCurve(**{key: tuple(numbers) for key, numbers in curve.items()})
    return LabelJudgement(**{**values, 'figures': _estimates(values['figures']), 'curve': curve})


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value
