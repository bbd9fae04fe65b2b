"""Decisions for a checkpoint: fitted on the validation part, written into the checkpoint."""

from pathlib import Path

from mmengine.config import Config
from mmengine.model import BaseModel

from mmdensenet.checkpoints.checkpoint_meta import DECISIONS, hash_weights, meta_file, write_meta
from mmdensenet.errors import UserError
from mmdensenet.results.decisions import Decisions, first_difference
from mmdensenet.results.preparation import preparation

from .models import get_model
from .runner import open_config, require_checkpoint
from .scoring import score_part
from .tasks import require_one_task

VALIDATION = 'the validation part'
#: metrics on the test set are optimistic then, and their readers must know
ALSO_TEST = 'the validation part, which is the test part too'


def decide_checkpoint(
    config: str | Config,
    checkpoint: str,
    out: str | Path | None = None,
    *,
    operating_point: str | None = None,
    coverage: float = 0.9,
    cfg_options: dict | None = None,
) -> Decisions:
    """Fit decisions on the config's validation part and write them into the checkpoint.

    Args:
        config, checkpoint: as for :func:`mmdensenet.apis.test_model`.
        out: file to write; by default the checkpoint itself.
        operating_point, coverage: see :func:`mmdensenet.apis.fit.decide.decide`.

    Raises:
        UserError: for what the user can put right, such as a config without validation part.
    """
    from .fit.decide import decide, require_options  # fit decides by this

    require_options(operating_point, coverage)
    cfg = open_config(config, cfg_options)
    require_checkpoint(checkpoint)
    meta_file(checkpoint, out)
    require_one_task(cfg.model.get('head'), 'decide')
    model = get_model(cfg, checkpoint)
    prepared = _preparation_of_both(cfg, model)
    scores = score_part(cfg, checkpoint, 'val')
    decisions = decide(
        scores,
        operating_point=operating_point,
        coverage=coverage,
        part=what_is_decided_on(cfg),
        weights=hash_weights(model.state_dict()),
        prepared=prepared,
    )
    write_meta(checkpoint, DECISIONS, decisions.to_dict(), out)
    return decisions


def _preparation_of_both(cfg: Config, model: BaseModel) -> tuple[str, ...]:
    """How the images of validation and test are prepared.

    Raises:
        UserError: if the two are prepared otherwise.
    """
    val, test = (preparation(model, cfg.get(f'{part}_dataloader')) for part in ('val', 'test'))
    if found := first_difference(val, test):
        raise UserError(
            f'val_dataloader and test_dataloader prepare images otherwise: {found[0]:.150} and {found[1]:.150}. '
            'Decisions on the one are not for the other: make their pipelines the same.'
        )
    return val


def what_is_decided_on(cfg: Config) -> str:
    """The validation part in words. Data sets that prepare the same images otherwise are the same."""
    parts = [(cfg.get(f'{part}_dataloader') or {}).get('dataset') for part in ('val', 'test')]
    if None in parts:
        return VALIDATION
    val, test = ({key: value for key, value in part.items() if key != 'pipeline'} for part in parts)
    return ALSO_TEST if val == test else VALIDATION
