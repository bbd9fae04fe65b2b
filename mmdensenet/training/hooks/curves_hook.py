"""Draws the training curves when training ends."""

from pathlib import Path

from mmengine.dist import master_only
from mmengine.hooks import Hook

from mmdensenet.registry import HOOKS


@HOOKS.register_module()
class CurvesHook(Hook):
    """Draw the curves of all runs in the work directory into ``training_curves.png`` when training ends."""

    priority = 'LOWEST'

    @master_only
    def after_train(self, runner) -> None:
        from mmdensenet.results.training_curves import PICTURE, plot_curves, read_scalars

        curves, unit = read_scalars(runner.work_dir)
        if not curves:
            return
        file = Path(runner.work_dir) / PICTURE
        plot_curves(curves, file, title=Path(runner.work_dir).name, unit=unit)
        runner.logger.info(f'The training curves are in {file}')
