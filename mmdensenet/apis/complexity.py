"""Parameters, multiply-adds and memory of a config's model."""

import re
from collections.abc import Sequence

import torch
from mmengine.config import Config

from mmdensenet.analysis.input_shape import input_shape
from mmdensenet.analysis.stage_costs import ENGINES, count_stages, measure_memory, predict_memory
from mmdensenet.errors import UserError
from mmdensenet.terminal import waiting

from .models import require_device
from .runner import open_config

UNITS = {'': 1, 'K': 10**3, 'M': 10**6, 'G': 10**9, 'T': 10**12, 'KI': 2**10, 'MI': 2**20, 'GI': 2**30, 'TI': 2**40}


def complexity(
    config: str | Config,
    *,
    size: Sequence[int] | None = None,
    batch: int | None = None,
    available: float | None = None,
    measure: bool = True,
    device: str | None = None,
    cfg_options: dict | None = None,
) -> dict:
    """Count parameters and multiply-adds of a config's model, and the memory of a training step, for both engines.

    Args:
        size: height and width of the images, or one number; by default what the config says.
        batch: images of the training step whose memory is reported; by default the config's.
        available: bytes, for which the largest batch is looked for.
        measure: also run training steps, each engine in a process of its own.
        device: on which to measure; by default the GPU if there is one.
        cfg_options: dotted keys to values, which override the config.

    Returns:
        ``config``, ``input`` (C, H, W), ``parameters``, ``multiply_adds`` (of one image, by engine), ``not_fused`` (why
        the fused engine has no numbers, or None), ``stages`` (a list with ``name``, ``parameters``, ``multiply_adds``
        and ``kept_bytes``, for one image, by engine) and ``memory``, by engine: of a training step ``predicted`` and
        ``measured`` with ``constant_bytes``, ``bytes_per_image``, ``batch_bytes`` (of ``batch`` images) and
        ``largest_batch``; the last is there with ``available``.

    Raises:
        UserError: for what the user can put right.
    """
    cfg = open_config(config, cfg_options)
    shape = input_shape(cfg, size)
    if batch is None:
        batch = (cfg.get('train_dataloader') or {}).get('batch_size', 1)
    if batch < 1:
        raise UserError(f'batch={batch}: give 1 or more.')
    device = require_device(device or ('cuda' if torch.cuda.is_available() else 'cpu'))
    stages, reason = count_stages(cfg, shape)
    engines = ENGINES if reason is None else ENGINES[:1]
    found = dict(
        config=cfg.filename,
        input=list(shape),
        parameters=sum(stage.parameters for stage in stages),
        multiply_adds={engine: sum(stage.multiply_adds[engine] for stage in stages) for engine in engines},
        not_fused=reason,
        stages=[vars(stage) for stage in stages],
        batch=batch,
        device=device,
        available_bytes=available,
        memory={},
    )
    for engine in engines:
        steps = dict(predicted=predict_memory(cfg, shape, engine))
        if measure:
            with waiting(f'measuring the memory of a training step, {engine} engine'):
                steps['measured'] = measure_memory(cfg, shape, engine, device, steps['predicted'])
        found['memory'][engine] = {
            name: dict(
                constant_bytes=step.constant,
                bytes_per_image=step.per_image,
                images=list(step.images),
                batch_bytes=step.of(batch),
                largest_batch=None if available is None else step.largest_batch(available, device),
            )
            for name, step in steps.items()
        }
    return found


def parse_bytes(text: str) -> float:
    """Bytes of '24GB' (24e9), '24GiB' (24 * 2**30), '500M' and the like.

    Raises:
        UserError: if it is no such text.

    >>> parse_bytes('24GB'), parse_bytes('1.5 GiB')
    (24000000000.0, 1610612736.0)
    """
    match = re.fullmatch(r'([\d.]+)\s*([KMGT]?I?)B?', text.strip(), re.IGNORECASE)
    try:
        return float(match[1]) * UNITS[match[2].upper()]
    except (TypeError, ValueError, KeyError):
        raise UserError(f'memory={text}: write a number and a unit, such as 24GB or 24GiB.') from None
