"""Fine-tuning in two phases: first the head alone, then the whole model."""

from mmengine.hooks import Hook
from torch import nn

from mmdensenet.errors import UserError
from mmdensenet.model_wrappers import unwrapped
from mmdensenet.registry import HOOKS


@HOOKS.register_module()
class HeadFirstHook(Hook):
    """Freeze the backbone in the first epochs: the gradients of a new head are noise to it.

    Its weights get no gradient, and it is in evaluation mode, so that its running statistics do not change. Parameters
    that the config froze stay frozen. The state depends on the epoch only, so a resumed run does the same.

    Args:
        epochs: the number of epochs in which the backbone is frozen.
    """

    def __init__(self, epochs: int = 1):
        if epochs < 0:
            raise UserError(f'HeadFirstHook epochs={epochs}: give 0 or more.')
        self.epochs = epochs
        self._frozen: list[nn.Parameter] = []

    def before_train_epoch(self, runner) -> None:
        self._unfreeze()
        if runner.epoch < self.epochs:
            self._frozen = [p for p in _backbone(runner).parameters() if p.requires_grad]
            for parameter in self._frozen:
                parameter.requires_grad_(False)

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        if runner.epoch < self.epochs:
            _backbone(runner).eval()

    def after_train_epoch(self, runner) -> None:
        if runner.epoch + 1 >= self.epochs:  # before the checkpoint is saved, and where training ends
            self._unfreeze()

    def _unfreeze(self) -> None:
        for parameter in self._frozen:
            parameter.requires_grad_(True)
        self._frozen = []


def _backbone(runner) -> nn.Module:
    model = unwrapped(runner.model)
    if not hasattr(model, 'backbone'):
        raise UserError('HeadFirstHook: the model has no backbone.')
    return model.backbone
