"""Fine-tuning in two phases: the head alone, then everything."""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from torch import nn

from mmdensenet.errors import UserError
from mmdensenet.registry import HOOKS


@HOOKS.register_module()
class HeadFirstHook(Hook):
    """Keep the backbone as it was loaded for the first epochs: a new head's gradients are noise to it.

    Its weights get no gradient, and it is in evaluation mode, so that its running statistics stay. What the config has
    frozen stays frozen after that. It depends on the epoch only, so that a resumed run does the same.

    Args:
        epochs: in which only what is behind the backbone is trained.
    """

    def __init__(self, epochs: int = 1):
        if epochs < 0:
            raise UserError(f'HeadFirstHook epochs={epochs}: give 0 or more.')
        self.epochs = epochs
        self._held: list[nn.Parameter] = []

    def before_train_epoch(self, runner) -> None:
        for parameter in self._held:
            parameter.requires_grad_(True)
        self._held = []
        if runner.epoch < self.epochs:
            self._held = [p for p in _backbone(runner).parameters() if p.requires_grad]
            for parameter in self._held:
                parameter.requires_grad_(False)

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        if runner.epoch < self.epochs:
            _backbone(runner).eval()

    def after_train_epoch(self, runner) -> None:
        if runner.epoch + 1 >= self.epochs and self._held:  # before the checkpoint, and where training ends
            for parameter in self._held:
                parameter.requires_grad_(True)
            self._held = []


def _backbone(runner) -> nn.Module:
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    if not hasattr(model, 'backbone'):
        raise UserError('HeadFirstHook: the model has no backbone.')
    return model.backbone
