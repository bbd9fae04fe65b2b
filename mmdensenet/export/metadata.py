"""What an exported file says of itself: JSON, which is read as data and never executed."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mmdensenet.errors import UserError
from mmdensenet.results.decisions import Decisions

#: the entry of the file that holds the JSON
KEY = 'mmdensenet'
#: raised when an older reader would misread a file
FORMAT = 2
_PLAIN = (int, float, str, bool, type(None))
#: The steps of a test pipeline that a file may name, with the arguments that it may give. Steps and arguments beyond
#: these are neither written nor read: a file cannot make its reader open, import or run anything else.
STEPS: dict[str, tuple[str, ...]] = {
    'LoadImageFromFile': ('color_type', 'imdecode_backend', 'to_float32'),
    'mmdensenet.LoadImage': ('color_type', 'imdecode_backend', 'to_float32', 'max_pixels'),
    'mmdensenet.LoadGreyImage': ('window', 'axis', 'index'),
    'ResizeEdge': ('scale', 'edge', 'interpolation', 'backend'),
    'Resize': ('scale', 'scale_factor', 'keep_ratio', 'interpolation', 'backend'),
    'CenterCrop': ('crop_size', 'efficientnet_style', 'crop_padding', 'interpolation', 'backend', 'pad_val'),
    'PackInputs': (),
}


@dataclass
class Metadata:
    """The description in a file.

    Attributes:
        version: mmdensenet's that wrote it.
        model: name of the config. ``checkpoint`` is the name of the weights' file, ``sha256`` its hash.
        classes: their names, or None; there are ``num_classes``.
        multi_label: scores are sigmoid's, one label each; else softmax's, which sum to 1. ``threshold`` and ``topk``
            say which labels of a multi-label model are given, as in its head.
        channels: of the image, 3 or 1; ``order`` is 'RGB', 'BGR' or 'grey': of normalised inputs.
        size: (height, width) of the input.
        batch: images at once, or None for any number.
        mean, std: of the normalisation ``(x - mean) / std`` in pixel values, in ``order``; None for none.
        pipeline: steps of the test pipeline before the normalisation, each with its ``type``; None if they are beyond
            those that a file may name, so that the caller must know.
        reads: what the pipeline gives for a colour image, 'BGR' or 'RGB'.
        with_preprocess: the graph takes uint8 images (N, H, W, channels), RGB or grey, and normalises; else float32
            (N, channels, H, W), normalised.
        any_size: with_preprocess, and the graph resizes and crops too: images have the size with which they are read.
        int8: computed in 8-bit integers, calibrated with ``calibration`` images.
        format: version of this description.
        decisions: of the checkpoint, as plain data; None where it has none. With them the graph has the output
            ``logits`` beside ``scores``.
    """

    version: str
    model: str
    checkpoint: str
    sha256: str
    classes: list[str] | None
    num_classes: int
    multi_label: bool
    threshold: float | None
    topk: int | None
    channels: int
    order: str
    size: list[int]
    batch: int | None
    mean: list[float] | None
    std: list[float] | None
    pipeline: list[dict[str, Any]] | None
    reads: str
    with_preprocess: bool
    any_size: bool
    int8: bool
    calibration: int | None = None
    format: int = FORMAT
    decisions: dict[str, Any] | None = None

    def to_json(self) -> str:
        values = asdict(self)
        if self.decisions is None:  # as files have been written
            del values['decisions']
        return json.dumps(values, ensure_ascii=False)

    def read_decisions(self, file: str) -> Decisions | None:
        """The decisions, read and checked; None where there are none.

        Raises:
            UserError: if they are not ours, or for another model.
        """
        if self.decisions is None:
            return None
        decisions = Decisions.from_dict(self.decisions, file)
        if len(decisions.classes) != self.num_classes or decisions.multi_label != self.multi_label:
            raise UserError(f'{file}: its description has decisions for another model. Export it again.')
        decisions.require_names(self.classes, file)
        return decisions

    @classmethod
    def from_json(cls, text: str | None, file: str) -> 'Metadata':
        """Read and check the description in ``file``.

        Raises:
            UserError: if there is none, or it is not one of ours.
        """
        if not text:
            raise UserError(f'{file} does not say what it is: only files of `mmdensenet export` can be opened.')
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UserError(f'{file}: its description is not JSON. Export it again.') from error
        if not isinstance(values, dict):
            raise UserError(f'{file}: its description is no dictionary. Export it again.')
        if values.get('format') != FORMAT:
            raise UserError(f'{file}: its description has format {values.get("format")!r}, known is {FORMAT}.')
        values.setdefault('decisions', None)
        if missing := sorted(set(cls.__dataclass_fields__) - set(values)):
            raise UserError(f'{file}: its description lacks {", ".join(missing)}. Export it again.')
        found = cls(**{name: values[name] for name in cls.__dataclass_fields__})
        if wrong := found._what_is_wrong():
            raise UserError(f'{file}: its description has {wrong}. Export it again.')
        found.read_decisions(file)
        return found

    def _what_is_wrong(self) -> str | None:
        numbers = [*(self.mean or []), *(self.std or [])]
        checks = {
            'size': _is_list(self.size, int) and len(self.size) == 2 and min(self.size) > 0,
            'channels': self.channels in (1, 3),
            'order': self.order in ('RGB', 'BGR', 'grey'),
            'reads': self.reads in ('RGB', 'BGR'),
            'batch': self.batch is None or (_is(self.batch, int) and self.batch > 0),
            'num_classes': _is(self.num_classes, int) and self.num_classes > 0,
            'classes': self.classes is None or (_is_list(self.classes, str) and len(self.classes) == self.num_classes),
            'mean': self.mean is None or (_is_list(self.mean, float) and len(self.mean) in (1, self.channels)),
            'std': self.std is None or (_is_list(self.std, float) and len(self.std) in (1, self.channels)),
            'mean and std': (self.mean is None) == (self.std is None),
            'mean or std that is not finite': all(map(math.isfinite, numbers)) and 0 not in (self.std or []),
            'multi_label': isinstance(self.multi_label, bool),
            'with_preprocess': isinstance(self.with_preprocess, bool),
            'any_size': isinstance(self.any_size, bool) and self.with_preprocess >= self.any_size,
            'threshold': self.threshold is None or _is(self.threshold, float),
            'topk': self.topk is None or (_is(self.topk, int) and 0 < self.topk <= self.num_classes),
            'pipeline': self.pipeline is None or plain_steps(self.pipeline) == self.pipeline,
        }
        wrong = [name for name, right in checks.items() if not right]
        return f'a wrong {wrong[0]}' if wrong else None


def plain_steps(pipeline: Any) -> list[dict[str, Any]] | None:
    """The steps as plain data, or None if one is not among :data:`STEPS` with plain arguments."""
    if not isinstance(pipeline, (list, tuple)):
        return None
    steps = []
    for step in pipeline:
        if not isinstance(step, Mapping) or step.get('type') not in STEPS:
            return None
        allowed = STEPS[step['type']]
        values = {key: list(v) if isinstance(v, tuple) else v for key, v in step.items()}
        if step['type'] == 'PackInputs':  # what it notes of a sample beside the pixels changes no prediction
            values = {key: value for key, value in values.items() if key not in ('meta_keys', 'algorithm_keys')}
        if not all(key == 'type' or (key in allowed and _is_plain(value)) for key, value in values.items()):
            return None
        steps.append(values)
    return steps


def _is_plain(value: Any) -> bool:
    return isinstance(value, _PLAIN) or (isinstance(value, list) and all(isinstance(v, _PLAIN) for v in value))


def _is(value: Any, kind: type) -> bool:
    return isinstance(value, (int, float) if kind is float else kind) and not isinstance(value, bool)


def _is_list(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(_is(v, kind) for v in value)
