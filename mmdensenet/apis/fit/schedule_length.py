"""Choose the length of a training by the number of images and the speed of this machine."""

import time
from dataclasses import dataclass

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import nn

#: images that a run takes through the network in all
IMAGES_ANEW, IMAGES_FINE = 20_000, 15_000
FEWEST_EPOCHS, MOST_EPOCHS = 10, 40
#: of the minutes that are given, for training and validating; the rest is for reading, deciding, judging and exporting
SHARE = 0.75
#: a validation image costs about a third of a training one
VALIDATION = 1 / 3


@dataclass
class Length:
    """Epochs, after how many of them to validate, and seconds of one training image and of all training."""

    epochs: int
    val_interval: int
    per_image: float
    expected: float


def training_length(train: int, val: int, per_image: float, pretrained: bool, minutes: float | None) -> Length:
    """Args: ``train``, ``val`` images of the parts; ``per_image``: seconds of a training step for one image."""
    wanted = (IMAGES_FINE if pretrained else IMAGES_ANEW) / train
    epochs = max(FEWEST_EPOCHS, min(MOST_EPOCHS, round(wanted)))
    interval = 1

    def seconds(epochs: int, interval: int) -> float:
        return per_image * (epochs * train + -(-epochs // interval) * val * VALIDATION)

    if minutes is not None:
        allowed = minutes * 60 * SHARE
        most = MOST_EPOCHS if pretrained else 2 * MOST_EPOCHS
        epochs = max((n for n in range(1, most + 1) if seconds(n, 1) <= allowed), default=1)
    if epochs > 30:
        interval = 2
    return Length(epochs, interval, per_image, seconds(epochs, interval))


def seconds_per_image(cfg: Config, shape: tuple[int, int, int], batch: int) -> float:
    """A training step on random images, on the device that training will use: the median of three after a first."""
    from mmpretrain.registry import MODELS

    from mmdensenet.analysis.stage_costs import random_batch, training_loss

    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    with DefaultScope.overwrite_default_scope('mmpretrain'), torch.random.fork_rng():
        model: nn.Module = MODELS.build(cfg.model).to(device).train()
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-9, momentum=0.9)
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
    return sorted(taken[1:])[1] / batch
