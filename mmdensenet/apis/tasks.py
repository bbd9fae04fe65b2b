"""Models with one head per task, which only some functions of this package support."""

from mmpretrain.models.heads import MultiTaskHead
from mmpretrain.registry import MODELS
from torch import nn

from mmdensenet.errors import UserError


def task_names(head: dict | nn.Module | None) -> list[str]:
    """The tasks of a head, as a config or built; of a head for one task none."""
    if isinstance(head, dict):
        kind = head.get('type')
        kind = MODELS.get(kind) if isinstance(kind, str) else kind
        return list(head['task_heads']) if isinstance(kind, type) and issubclass(kind, MultiTaskHead) else []
    return list(head.task_heads) if isinstance(head, MultiTaskHead) else []


def require_one_task(head: dict | nn.Module | None, what: str) -> None:
    """Refuse a model with several tasks before the work.

    Args:
        head: of the model, as a config or built.
        what: what does not support it, in words.

    Raises:
        UserError: naming the tasks.
    """
    if names := task_names(head):
        raise UserError(
            f'{what} does not support a head for several tasks (MultiTaskHead: {", ".join(names)}): `mmdensenet '
            'test --out FILE` writes the predictions of each.'
        )
