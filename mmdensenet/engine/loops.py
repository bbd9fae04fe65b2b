"""mmengine's training loop by epochs, which can start inside an epoch."""

from mmengine.runner import EpochBasedTrainLoop as _EpochBasedTrainLoop

from mmdensenet.registry import LOOPS


@LOOPS.register_module()
class EpochBasedTrainLoop(_EpochBasedTrainLoop):
    """mmengine's loop of this name; ``position`` is the number of batches of the current epoch that are done.

    :class:`~mmdensenet.engine.hooks.ExactResumeHook` sets it from a checkpoint and has the sampler start there.
    """

    position = 0

    def run_epoch(self) -> None:
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        for idx, data_batch in enumerate(self.dataloader, start=self.position):
            self.run_iter(idx, data_batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1
        self.position = 0

    def run_iter(self, idx, data_batch) -> None:
        self.position = idx + 1
        super().run_iter(idx, data_batch)
