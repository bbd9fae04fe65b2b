"""Summarise the model of a command that does not train."""

from mmengine.config import Config
from mmengine.model import BaseModel

from mmdensenet import terminal
from mmdensenet.analysis.input_shape import input_shape
from mmdensenet.analysis.stage_costs import count_multiply_adds
from mmdensenet.training.hooks.terminal_hook import describe, describe_engine, describe_model


def summarise(model: BaseModel, checkpoint: str | None = None, **rows: object) -> None:
    """A line for the config, the model, its checkpoint, each of ``rows``, the device, the precision and the engine.

    Args:
        model: of :func:`mmdensenet.get_model`.
    """
    if not (terminal.is_quiet() and terminal.is_first()):
        return
    weight = next(model.parameters())
    terminal.summary(
        [
            ('config', terminal.short_path(model._config.filename)),
            ('model', describe_model(model, cost_in_words(model._config))),
            ('checkpoint', checkpoint),
            *rows.items(),
            ('device', describe(weight.device)),
            ('precision', str(weight.dtype).removeprefix('torch.')),
            ('engine', describe_engine(model, weight.device, weight.dtype)),
        ]
    )


def cost_in_words(cfg: Config) -> str | None:
    """Multiply-adds of one image in words; None for a model whose images or operations are not known."""
    try:
        shape = input_shape(cfg)
        count = count_multiply_adds(cfg, shape)
    except Exception:  # a line of a summary, which must not keep anybody from training
        return None
    power, unit = next((each for each in ((9, 'G'), (6, 'M'), (3, 'k')) if count >= 10 ** each[0]), (0, ''))
    return f'{count / 10**power:.3g} {unit}FLOPs (multiply-adds) for {"x".join(map(str, shape))}'
