"""How images are loaded: one step that all of them agree on, and the mean and deviation of the training part."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmdensenet.errors import UserError

from .pictures import Picture


@dataclass
class Reading:
    """How images are loaded: the step of the pipeline, channels, mean and standard deviation of the training part."""

    step: str
    channels: int
    mean: list[float]
    std: list[float]
    why: str


def choose_reading(train: Sequence[Picture], pictures: Sequence[Picture]) -> Reading:
    """The loading step that all images agree on; mean and deviation are of ``train``.

    Raises:
        UserError: for DICOM beside other files, or depths that would differ in brightness.
    """
    kinds = {picture['kind'] for picture in pictures}
    if 'dicom' in kinds and len(kinds) > 1:
        raise UserError('some images are DICOM and others are not: convert them to one kind, or take one kind only.')
    bits = 16  # that the files of 16 bits use
    if '16' in kinds:
        bits = math.ceil(math.log2(max(1, max(p['brightest'] for p in pictures if p['kind'] == '16')) + 1))
    if bits <= 12 and '8' in kinds:  # of a detector, in files of 16 bits
        raise UserError(
            f'some images have 8 bits and others {bits} of 16, which would be {2 ** (16 - bits)} times darker: '
            'convert them to one depth.'
        )
    is_grey = all(picture['grey'] for picture in pictures)
    if bits <= 12 and not is_grey:
        raise UserError(
            f'the files of 16 bits use {bits} of them, and some are in colour, which is read as 8 bits of 16: '
            f'{2 ** (16 - bits)} times too dark. Convert them to 8 bits.'
        )
    if not is_grey:
        grey = sum(picture['grey'] for picture in pictures)
        why = 'read in colour' + (f' ({grey} of {len(pictures)} are grey)' if grey else '')
        mean, std = _moments([p['mean'] for p in train], [p['square'] for p in train])
        return Reading("dict(type='LoadImageFromFile')", 3, mean, std, why)
    window, factor, why = "'full'", 1.0, 'read as grey, all bits of the file'
    if kinds == {'dicom'} and all(picture['windowed'] for picture in pictures):
        mean, std = _moments([p['windowed'][:1] for p in train], [p['windowed'][1:] for p in train])
        step = "dict(type='mmdensenet.LoadGreyImage', window='dicom')"
        return Reading(step, 1, mean, std, 'read as grey through the window that each DICOM file states')
    if bits <= 12:
        window, factor = f'(0, {2**bits - 1})', 65535 / (2**bits - 1)
        why = f'read as grey, {bits} bits of 16 are used'
    mean, std = _moments([[p['mean'][0] * factor] for p in train], [[p['square'][0] * factor**2] for p in train])
    return Reading(f"dict(type='mmdensenet.LoadGreyImage', window={window})", 1, mean, std, why)


def _moments(means, squares) -> tuple[list[float], list[float]]:
    """Mean and deviation of the pixels of all images, each image with the same weight."""
    mean, square = np.mean(means, axis=0), np.mean(squares, axis=0)
    std = np.sqrt(np.maximum(square - mean**2, 1.0))  # images of one value, too, are divided by something
    return [round(float(v), 2) for v in mean], [round(float(v), 2) for v in std]
