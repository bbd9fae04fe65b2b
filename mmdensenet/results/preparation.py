"""How images come to a model, as text: decisions on its logits hold for images that are prepared so."""

import hashlib
from collections.abc import Mapping
from typing import Any

from torch import nn

from mmdensenet.datasets.wrappers import leaf_configs

from .decisions import printable

#: arguments of steps that change no pixel
NO_PIXELS = ('type', '_scope_', 'backend_args', 'file_client_args')
#: steps that change no pixel
PACKING = ('PackInputs',)
#: our loading step, which takes mmcv's place where a config is run
SAME = {'LoadImage': 'LoadImageFromFile'}
#: the text of a pipeline without steps
NO_STEPS = 'as they are read'
MMPRETRAINS = 'ClsDataPreprocessor'
#: a longer text is cut and hashed
LONGEST = 300


def preparation(model: nn.Module, loader: Mapping | None) -> tuple[str, ...]:
    """The steps of a data loader's pipeline, one text each, and the model's normalisation.

    Data sets with several pipelines have one text for each. Without a pipeline there is the normalisation only.
    Texts with a slash, such as paths, are hashed: decisions are passed on with exported files.
    """
    pipelines = [leaf['pipeline'] for _, leaf in leaf_configs((loader or {}).get('dataset')) if leaf.get('pipeline')]
    texts = [tuple(_step(step) for step in steps if _name(step) not in PACKING) or (NO_STEPS,) for steps in pipelines]
    found = list(dict.fromkeys(texts))
    steps = found[0] if len(found) == 1 else tuple(_short(', then '.join(each)) for each in found)
    return (*steps, _normalisation(getattr(model, 'data_preprocessor', None)))


def _step(step: Mapping) -> str:
    name = _name(step)
    return _short(f'{SAME.get(name, name)}({_arguments(step)})')


def _arguments(step: Mapping) -> str:
    return ', '.join(f'{key}={_text(step[key])}' for key in sorted(step, key=str) if key not in NO_PIXELS)


def _name(step: Mapping) -> str:
    kind = step.get('type')
    return str(kind if isinstance(kind, str) else getattr(kind, '__name__', kind)).rpartition('.')[2]


def _text(value: Any) -> str:
    """The same text of a tuple and a list, and of 224 and 224.0."""
    if isinstance(value, Mapping):
        return _step(value) if 'type' in value else f'{{{_arguments(value)}}}'
    if isinstance(value, (list, tuple)):
        return f'[{", ".join(map(_text, value))}]'
    if isinstance(value, (bool, int, float)) or value is None:
        return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    text = getattr(value, '__name__', None) or str(value)
    return _hash(text) if '/' in text or '\\' in text else text


def _normalisation(preprocessor: nn.Module | None) -> str:
    if preprocessor is None:
        return 'not normalised'
    names = ('to_rgb', 'pad_size_divisor', 'pad_value')
    known = [f'{name}={getattr(preprocessor, name)}' for name in names if getattr(preprocessor, name, False)]
    for name in ('mean', 'std'):
        values = getattr(preprocessor, name, None)
        if values is not None:
            known.append(f'{name}={[float(f"{value:.6g}") for value in values.flatten().tolist()]}')
    kinds = [kind.__name__ for kind in type(preprocessor).__mro__]  # ours, which is quicker, is mmpretrain's
    return _short(f'{MMPRETRAINS if MMPRETRAINS in kinds else kinds[0]}({", ".join(known)})')


def _short(text: str) -> str:
    text = printable(text)
    return text if len(text) <= LONGEST else f'{text[: LONGEST - 50]}... {_hash(text)}'


def _hash(text: str) -> str:
    return f'#{hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=12).hexdigest()}'
