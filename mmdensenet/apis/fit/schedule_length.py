"""Choose the length of a training by the number of images and the speed of this machine."""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import nn

from mmdensenet.training.launch import core_count

#: images that a run takes through the network in all
IMAGES_ANEW, IMAGES_FINE = 20_000, 15_000
FEWEST_EPOCHS, MOST_EPOCHS = 10, 40
#: of the minutes that are given, for training and validating; the rest is for reading, deciding, judging and exporting
SHARE = 0.75
#: a validation image costs about a third of a training one
VALIDATION = 1 / 3
#: seconds of a run beside its images, measured on one core (EPYC with AVX-512): to begin, for each step (hooks,
#: collation, normalisation), and for each of an epoch's two checkpoints, the latest and the best; and how many bytes of
#: these are written in a second
START, STEP, SAVE, WRITE = 0.6, 0.009, 0.08, 5e8
#: images that are loaded to measure it
LOADED = 24


@dataclass(frozen=True)
class Cost:
    """Seconds.

    Attributes:
        step: of a training step, for each of its ``batch`` images.
        batch: images at once.
        loading: of an image, as far as it makes the training longer.
        saving: of a checkpoint.
    """

    step: float
    batch: int
    loading: float = 0.0
    saving: float = SAVE

    @property
    def per_image(self) -> float:
        return self.step + self.loading

    def of(self, train: int, val: int, epochs: int, interval: int) -> float:
        """A training with so many images in its parts, and a validation after each ``interval`` epochs."""
        validations = -(-epochs // interval)
        steps = epochs * -(-train // self.batch) + validations * -(-val // (2 * self.batch))
        images = epochs * train * self.per_image + validations * val * (self.step * VALIDATION + self.loading)
        return START + images + steps * STEP + 2 * validations * self.saving


@dataclass
class Length:
    """Epochs, after how many of them to validate, and seconds of one training image and of all training."""

    epochs: int
    val_interval: int
    per_image: float
    expected: float

    @property
    def described(self) -> str:
        return f'{self.epochs} epoch{"s" if self.epochs > 1 else ""}'


def training_length(train: int, val: int, cost: Cost, pretrained: bool, minutes: float | None) -> Length:
    """Args: ``train``, ``val`` images of the parts."""
    wanted = (IMAGES_FINE if pretrained else IMAGES_ANEW) / train
    epochs = max(FEWEST_EPOCHS, min(MOST_EPOCHS, round(wanted)))
    interval = 1
    if minutes is not None:
        allowed = minutes * 60 * SHARE
        most = MOST_EPOCHS if pretrained else 2 * MOST_EPOCHS
        epochs = max((n for n in range(1, most + 1) if cost.of(train, val, n, 1) <= allowed), default=1)
    if epochs > 30:
        interval = 2
    return Length(epochs, interval, cost.per_image, cost.of(train, val, epochs, interval))


def seconds_per_image(cfg: Config, shape: tuple[int, int, int], batch: int) -> tuple[float, int]:
    """A training step on random images, on the device that training will use: the median of three after a first.

    Returns:
        Seconds for one image, and the bytes of a checkpoint, with the optimiser's state.
    """
    from mmengine.optim import build_optim_wrapper
    from mmpretrain.registry import MODELS

    from mmdensenet.analysis.stage_costs import random_batch, training_loss

    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    with DefaultScope.overwrite_default_scope('mmpretrain'), torch.random.fork_rng():
        model: nn.Module = MODELS.build(cfg.model).to(device).train()
        optimizer = build_optim_wrapper(model, dict(cfg.optim_wrapper, type='OptimWrapper')).optimizer
        taken = []
        for _ in range(4):
            images, samples = random_batch(model, shape, batch)
            start = time.perf_counter()
            optimizer.zero_grad()
            training_loss(model, images, samples).backward()
            optimizer.step()
            if device == 'cuda':
                torch.cuda.synchronize()
            taken.append(time.perf_counter() - start)
        tensors = [*model.state_dict().values()]
        tensors += [value for state in optimizer.state.values() for value in state.values() if torch.is_tensor(value)]
    return sorted(taken[1:])[1] / batch, sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def seconds_of_loading(pipeline: Sequence[dict], files: Sequence[str], workers: int) -> float:
    """By how much loading an image makes a training step longer, for each of its images.

    Without workers the process that trains does it. Workers do it meanwhile, on a CPU with cores that the step needs
    too.

    Args:
        pipeline: of training.
        files: of the training part, of which some evenly spaced ones are loaded.
    """
    from mmcv.transforms import Compose
    from mmpretrain.registry import TRANSFORMS

    state, numpys = random.getstate(), np.random.get_state()  # training draws what it would have drawn
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        load = Compose([TRANSFORMS.build(dict(step)) for step in pipeline])
        taken = []
        for place in torch.linspace(0, len(files) - 1, min(LOADED, len(files))).tolist():
            start = time.perf_counter()
            load(dict(img_path=files[int(place)], gt_label=0, sample_idx=0))
            taken.append(time.perf_counter() - start)
    random.setstate(state)
    np.random.set_state(numpys)
    alone = sorted(taken)[len(taken) // 2]
    if not workers:
        return alone
    return 0.0 if torch.cuda.is_available() else alone / core_count()
