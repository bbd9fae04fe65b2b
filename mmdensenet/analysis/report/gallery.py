"""The most confident errors with their activation maps, and labels that are likely wrong."""

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from mmengine.model import BaseModel
from PIL import Image

from mmdensenet import terminal
from mmdensenet.analysis.cam import class_activation, overlay
from mmdensenet.analysis.denormalise import to_pictures
from mmdensenet.errors import BadImageError, UserError
from mmdensenet.results.scores import Scores
from mmdensenet.results.suspicious import Suspicion, in_words

from .paths import short_path

#: the longer side in pixels to which pictures are reduced, and up to which they are stored without loss
LARGEST, LOSSLESS = 256, 64


@dataclass(frozen=True)
class Mistake:
    """One error. ``true`` and ``predicted`` are text; ``picture`` and ``map`` (or None) are data URIs."""

    path: str
    true: str
    predicted: str
    picture: str
    map: str | None


def find_mistakes(scores: Scores, count: int) -> list[tuple[int, int]]:
    """(image, class) of the most confident errors, one for each image.

    The class is the wrongly predicted one, or with several labels one that was missed.
    """
    if scores.multi_label:
        wrong = (scores.truth >= 0) & (scores.predicted != (scores.truth == 1)) & scores.is_decided
        sure = np.where(wrong, np.where(scores.truth == 1, 1 - scores.scores, scores.scores), -1.0)
        label = sure.argmax(1)
        sure = sure.max(1)
    else:
        label = scores.predicted
        sure = np.where(label != scores.truth, scores.scores[np.arange(len(label)), label], -1.0)
    order = np.argsort(-sure, kind='stable')[:count]
    return [(int(i), int(label[i])) for i in order if sure[i] >= 0]


def make_gallery(
    scores: Scores,
    model: BaseModel,
    dataset,
    bgr: bool,
    count: int = 12,
    names: bool = True,
    model_of: Callable[[int], BaseModel] | None = None,
) -> tuple[list[Mistake], str | None]:
    """The most confident errors, and the reason why there are no activation maps, or None.

    The pictures are the outputs of the test pipeline, so that the maps match the model's input.

    Args:
        dataset: the test set with its pipeline.
        bgr: whether the model gets BGR, see :func:`mmdensenet.analysis.denormalise.is_bgr`.
        names: False numbers the images from 1 instead of naming their paths.
        model_of: returns the model that scored an image, by its index in ``scores``, if there are several models.
    """
    shown, reason = [], None
    for place, label in terminal.each(find_mistakes(scores, count), 'computing activation maps of errors'):
        try:
            sample = dataset[int(scores.index[place])]
        except (BadImageError, IndexError):
            continue
        own = model_of(place) if model_of else model
        batch = own.data_preprocessor(dict(inputs=sample['inputs'][None]), False)['inputs']
        cam = None
        try:
            if reason is None:
                cam = class_activation(own, batch, [label])[0]
        except UserError as error:
            reason = str(error)
        picture = to_pictures(batch, own.data_preprocessor, bgr)[0]
        path = short_path(scores.paths[place], 2) if names else f'row {place + 1} of predictions.csv'
        path = path or f'image {scores.index[place]}'
        both = None if cam is None else _data_uri(overlay(picture, cam))
        shown.append(Mistake(path, *_words(scores, place, label), _data_uri(picture), both))
    return shown, reason


def make_suspects(
    scores: Scores,
    suspicions: Sequence[Suspicion],
    model: BaseModel,
    prepare: Callable[[str], dict],
    bgr: bool,
    names: bool = True,
) -> list[Mistake]:
    """Labels that are likely wrong: the given label as ``true``, the suggested one as ``predicted``.

    Args:
        prepare: returns the test pipeline's output for a path.
        bgr, names: as for :func:`make_gallery`.
    """
    shown = []
    for number, each in enumerate(suspicions, 1):
        try:
            sample = prepare(scores.paths[each.place])
        except UserError:
            continue
        batch = model.data_preprocessor(dict(inputs=sample['inputs'][None]), False)['inputs']
        given, suggested = in_words(scores, each)
        path = short_path(scores.paths[each.place], 2) if names else f'row {number} of suspicious.csv'
        picture = _data_uri(to_pictures(batch, model.data_preprocessor, bgr)[0])
        shown.append(Mistake(path, f'{given}, score {each.self_confidence:.3f}', suggested, picture, None))
    return shown


def _words(scores: Scores, place: int, label: int) -> tuple[str, str]:
    name, score = scores.classes[label], scores.scores[place, label]
    if scores.multi_label:
        there = scores.truth[place, label] == 1
        true = f'{name}: {"present" if there else "absent"}'
        limit = f' (threshold {scores.threshold:g})' if scores.positive is None else ''
        return true, f'{"missed" if there else "predicted"}, score {score:.3f}{limit}'
    right = scores.truth[place]
    return f'{scores.classes[right]}, score {scores.scores[place, right]:.3f}', f'{name}, score {score:.3f}'


def _data_uri(pixels: np.ndarray) -> str:
    image = Image.fromarray(pixels)
    image.thumbnail((LARGEST, LARGEST))
    small = max(image.size) <= LOSSLESS
    stream = io.BytesIO()
    image.save(stream, 'PNG') if small else image.save(stream, 'JPEG', quality=88)
    text = base64.b64encode(stream.getvalue()).decode()
    return f'data:image/{"png" if small else "jpeg"};base64,{text}'
