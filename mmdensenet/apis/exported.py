"""Predictions with an exported file: as the checkpoint's, without its config."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.registry import init_default_scope
from mmpretrain.structures import DataSample

from mmdensenet.errors import UserError
from mmdensenet.export.resample import is_at_an_end
from mmdensenet.export.runtime import ExportedModel
from mmdensenet.results.decided import decide_samples

from .inference import Inferencer, require_as_many
from .models import require_device


class ExportedInferencer(Inferencer):
    """:class:`Inferencer` for a file of ``tools/export.py``: the same calls and results.

    The preprocessing is that of the file's description, which is data: it can name the steps of
    :data:`mmdensenet.export.metadata.STEPS` with plain arguments, and nothing else.

    Args:
        file: .onnx (run by ONNX Runtime), .xml (OpenVINO) or .pt2 (PyTorch).
        device: files run on the CPU.
        classes: names of the classes, in the place of the file's.
        threads: None leaves it to the runtime, which takes all cores.

    Raises:
        UserError: if the file cannot be read or is not ours, or its runtime is missing.
    """

    def __init__(
        self,
        file: str | Path,
        device: str | torch.device | None = None,
        classes: Sequence[str] | None = None,
        threads: int | None = None,
    ):
        if device is not None and torch.device(require_device(device)).type != 'cpu':
            raise UserError(f'{file}: exported files run on the CPU here, not on {device}.')
        self.model = ExportedModel(file, threads)
        self.metadata = self.model.metadata
        if self.metadata.pipeline is None:
            raise UserError(
                f'{file} does not say how images are prepared, as its config had steps of its own: prepare them as '
                'there and call mmdensenet.export.ExportedModel.'
            )
        require_as_many(classes, self.metadata.num_classes)
        self.classes = classes or self.metadata.classes
        self.multi_label = self.metadata.multi_label
        self.decisions = self.metadata.read_decisions(str(file))
        init_default_scope('mmpretrain')
        steps = [
            # JSON has no tuples, and some steps take no list
            {key: tuple(value) if isinstance(value, list) else value for key, value in step.items()}
            for step in self.metadata.pipeline
        ]
        if self.metadata.any_size:  # the graph does the others
            steps = [step for step in steps if is_at_an_end(step)]
        try:
            self.use_pipeline(steps, self.metadata.channels, self.metadata.reads == 'BGR')
            # run once: the steps' arguments come from the file, and only a run shows a wrong one
            height, width = self.metadata.size
            shape = (height, width) if self.metadata.channels == 1 else (height, width, self.metadata.channels)
            image = np.zeros(shape, np.float32 if hasattr(self.loader, 'apply_window') else np.uint8)
            self.after_loading(dict(img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2]))['inputs']
        except (AssertionError, KeyError, TypeError, ValueError, cv2.error) as error:
            raise UserError(
                f'{file}: its description has a pipeline that cannot run ({type(error).__name__}). Export it again.'
            ) from error

    def _collate(self, batch: list[dict]) -> dict:
        if self.metadata.any_size:
            return dict(inputs=[item['inputs'] for item in batch])
        return super()._collate(batch)

    def forward(self, inputs: dict) -> list[DataSample]:
        """The data samples of a batch; where there are decisions, with ``logits`` and what is decided from them."""
        if self.decisions is not None:
            logits = torch.from_numpy(self.model.logits(inputs['inputs']))
            samples = [DataSample() for _ in logits]
            for sample, row in zip(samples, logits):
                sample.set_field(row, 'logits', dtype=torch.Tensor)
            return decide_samples(self.decisions, samples)
        scores = torch.from_numpy(self.model.scores(inputs['inputs']))
        return [DataSample().set_pred_score(row).set_pred_label(self._labels(row)) for row in scores]

    def _labels(self, scores: torch.Tensor) -> torch.Tensor:
        if not self.multi_label:
            return scores.argmax(keepdim=True)
        if self.metadata.threshold is not None:
            return torch.where(scores >= self.metadata.threshold)[0]
        return scores.topk(self.metadata.topk or 1).indices
