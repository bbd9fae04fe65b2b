"""Whether the parts of a division have the labels that training and judging need."""

import numpy as np

from mmdensenet.errors import UserError

from .samples import Samples, listed

#: images of a label, or without it, in a part; fewer are said
FEW = 5


def require_labels(samples: Samples, inside: np.ndarray, part: str, lines: list[str]) -> None:
    """Say which labels a part lacks or has few images of, and what follows from that.

    Args:
        inside: (N,) of bool, the images of the part.
        part: what it is called, such as 'train part'.
        lines: get what is said.

    Raises:
        UserError: for a part without images, or in which no label has images with and without it, whose metrics would
            be nan; for a training part without a class.
    """
    onehot = samples.onehot[inside]
    more = 'more images are needed'
    if samples.groups is not None:
        more = f'more groups are needed than {len(set(samples.groups))}'
    if not len(onehot):
        raise UserError(f'the {part} has no image: {more}.')
    lacking = [name for name, count in zip(samples.classes, onehot.sum(0)) if not count]
    if part.startswith('train') and lacking and not samples.multi_label:
        raise UserError(f'the {part} has no image of {", ".join(lacking)}: {more}, or fewer classes.')
    known = samples.targets[inside] >= 0 if samples.multi_label else np.ones_like(onehot)
    if not ((onehot.sum(0) > 0) & (onehot.sum(0) < known.sum(0))).any():
        raise UserError(f'the {part} has no two kinds of labels to tell apart: {more}.')
    if part.startswith('train'):
        if lacking:
            lines.append(f'the {part} has no image of {", ".join(lacking)}, which cannot be learnt')
        return
    what = 'figures' if part.startswith('test') else 'best epoch, thresholds and temperature'
    if lacking:
        if samples.multi_label:
            why = ', and is left out of the mean of all labels'
        elif part.startswith('val'):
            why = (
                f': the mean recall counts it as 0, so that it is at most {1 - len(lacking) / len(samples.classes):.0%}'
            )
        else:
            why = ''
        lines.append(f'the {part} has no image of {", ".join(lacking)}{why}')
    few = [
        f'{kind}{name} {count}'
        for kind, counts in (('', onehot.sum(0)), ('without ', known.sum(0) - onehot.sum(0)))
        for name, count in zip(samples.classes, counts.tolist())
        if count < FEW and (count or kind) and (samples.multi_label or not kind)
    ]
    if few:
        lines.append(f'the {part} has few images of a kind, so that {what} are uncertain: {listed(few)}')
