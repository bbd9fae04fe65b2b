"""The costs of a DenseNet or RDNet by stage and engine: parameters, multiply-adds, memory of a training step.

The model itself runs on torch's 'meta' device, where tensors have shapes and no data; there is no second description of
its costs. The measurement runs real steps, each engine in its own process.
"""

import multiprocessing as mp
import sys
from collections.abc import Generator, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from types import SimpleNamespace

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from mmdensenet.errors import UserError, first_line
from mmdensenet.models import DenseNet, RDNet
from mmdensenet.training import memory

from .meter import Meter

ENGINES = ('reference', 'fused')
#: images of the two steps from which memory is extrapolated: enough that also small images fill the temporaries of the
#: fused engine, whose size is bounded
TWO_STEPS = (16, 32)
#: the smallest difference between two measured steps for which the allocator's pages do not matter
ENOUGH_BYTES = 64 * 2**20


@dataclass
class Stage:
    """One part of the model; the dicts have an entry for each engine that applies.

    ``multiply_adds`` are those of convolutions and matrix products on one image in evaluation. ``kept_bytes`` are saved
    for backward for one image, without weights; a transition's are included in its block's, and None here.
    """

    name: str
    parameters: int
    multiply_adds: dict[str, int] = field(default_factory=dict)
    kept_bytes: dict[str, float | None] = field(default_factory=dict)


@dataclass
class StepMemory:
    """The bytes of a training step, ``constant`` and ``per_image``, and the images of the two steps that give them."""

    constant: float
    per_image: float
    images: tuple[int, int]

    def of(self, batch: int) -> float:
        return self.constant + batch * self.per_image

    def largest_batch(self, available: float, device: str | torch.device) -> int:
        """As :func:`mmdensenet.training.memory.largest_batch`, of this many available bytes."""
        return memory.largest_batch(torch.device(device), available, self.constant, self.per_image)


def build_meta_model(cfg: Config, engine: str) -> BaseModel:
    """The config's classifier with this engine, on torch's 'meta' device.

    Raises:
        UserError: if its backbone is not one of ours.
    """
    from mmpretrain.registry import MODELS

    init_default_scope(cfg.get('default_scope') or 'mmpretrain')
    settings = Config(deepcopy(cfg.to_dict()))
    for key in ('pretrained', 'train_cfg'):  # batch augmentation adds no counted cost, and logs
        settings.model.pop(key, None)
    kind = settings.model.get('backbone', {}).get('type')
    backbone = MODELS.get(kind) if isinstance(kind, str) else kind
    if not (isinstance(backbone, type) and issubclass(backbone, DenseNet | RDNet)):
        raise UserError(f'model.backbone.type={kind!r}: only mmdensenet.DenseNet and mmdensenet.RDNet are counted.')
    settings.model.backbone.engine = engine
    with torch.device('meta'):
        return MODELS.build(settings.model)


def count_stages(cfg: Config, shape: tuple[int, int, int]) -> tuple[list[Stage], str | None]:
    """The stages in order, and the reason why the fused engine has no counts, or None.

    Args:
        shape: (C, H, W) of one image.
    """
    model = build_meta_model(cfg, 'reference')
    stages = [
        Stage(name, sum(parameter.numel() for module in modules for parameter in module.parameters()))
        for name, modules in _parts(model)
    ]
    reason = None
    for engine in ENGINES:
        model = model if engine == 'reference' else build_meta_model(cfg, engine)
        try:
            counts = _multiply_adds(model.eval(), shape)
            saved = _kept_bytes(model.train(), shape)
        except RuntimeError as error:
            if engine == 'reference':
                raise UserError(f'images of {shape[1]}x{shape[2]} cannot be computed: {error}') from error
            reason = str(error)
            break
        for stage in stages:
            stage.multiply_adds[engine] = counts[stage.name]
            stage.kept_bytes[engine] = saved.get(stage.name)
    return stages, reason


def count_multiply_adds(cfg: Config, shape: tuple[int, int, int]) -> int:
    """Multiply-adds of the reference on one image (C, H, W), without the rest of :func:`count_stages`."""
    return sum(_multiply_adds(build_meta_model(cfg, 'reference').eval(), shape).values())


def predict_memory(cfg: Config, shape: tuple[int, int, int], engine: str) -> StepMemory:
    """The memory of a float32 training step from shapes: weights, gradients, optimiser state, activations, temporaries.

    It does not include memory that libraries allocate inside an operation, nor that of the process and the driver.
    """
    model = build_meta_model(cfg, engine).train()
    runner = _runner(model, cfg)
    peaks = []
    for count in TWO_STEPS:
        with Meter() as meter:
            training_loss(model, *random_batch(model, shape, count)).backward()
        peaks.append(meter.peak)
        runner.optim_wrapper.zero_grad()
    per_image = (peaks[1] - peaks[0]) / (TWO_STEPS[1] - TWO_STEPS[0])
    weights = sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))
    state = memory.state_bytes(runner.optim_wrapper.optimizer)
    return StepMemory(weights + state + max(peaks[0] - TWO_STEPS[0] * per_image, 0.0), per_image, TWO_STEPS)


def measure_memory(
    cfg: Config, shape: tuple[int, int, int], engine: str, device: str, expected: StepMemory | None = None
) -> StepMemory:
    """The same from two training steps on random images, with :func:`mmdensenet.training.memory.measure`.

    They run in a new process. On a CPU its whole resident memory counts, on a GPU the memory of torch's allocator.

    Args:
        expected: the prediction, which determines the number of images.

    Raises:
        UserError: if it cannot be measured here.
    """
    few = 2
    if expected is not None:
        few = min(256, max(2, round(ENOUGH_BYTES / expected.per_image)))
    job = dict(cfg=cfg.to_dict(), engine=engine, shape=shape, device=device, images=(few, 2 * few))
    context = mp.get_context('spawn')  # a forked process would start with this one's memory
    here, there = context.Pipe()
    process = context.Process(target=_measure, args=(there, job))
    process.start()
    there.close()
    try:
        done, *answer = here.recv()
    except EOFError:
        done, answer = False, ['its process ended; is there enough memory?']
    process.join()
    if not done:
        raise UserError(f'the memory of the {engine} engine cannot be measured on {device}: {answer[0]}')
    return StepMemory(*answer, job['images'])


def _measure(connection, job: dict) -> None:
    try:
        if job['device'] == 'cpu' and sys.platform != 'linux':
            raise RuntimeError('only Linux reports the peak of the resident memory')
        cfg = Config(job['cfg'])
        model = build_meta_model(cfg, job['engine']).to_empty(device=job['device']).train()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(std=0.01)
        inputs, samples = random_batch(model, job['shape'], job['images'][1])
        runner = _runner(model, cfg)
        runner.train_dataloader = SimpleNamespace(
            dataset=list(zip(inputs, samples)),
            collate_fn=lambda pairs: dict(
                inputs=torch.stack([p[0] for p in pairs]), data_samples=[p[1] for p in pairs]
            ),
        )
        model.data_preprocessor = _AsItIs()
        device = torch.device(job['device'])
        memory.measure(runner, device, (1, 2))  # libraries load
        connection.send((True, *memory.measure(runner, device, job['images'])))
    except Exception as error:
        connection.send((False, first_line(error)))


class _AsItIs(nn.Module):
    """Replaces the preprocessor, whose mean and deviation have no data after 'meta'; random images need none."""

    def forward(self, data: dict, training: bool) -> dict:
        return data


def _parts(model: BaseModel) -> Iterator[tuple[str, list[nn.Module]]]:
    """The stages' names, and their modules."""
    backbone = model.backbone
    yield 'stem', [backbone.stem]
    if isinstance(backbone, RDNet):
        yield from ((f'stage {i + 1}', [stage]) for i, stage in enumerate(backbone.stages))
    for i in range(0 if isinstance(backbone, RDNet) else backbone.num_stages):
        yield f'dense block {i + 1}', [backbone.stages[i]]
        last = i == backbone.num_stages - 1
        yield 'final norm' if last else f'transition {i + 1}', [backbone.transitions[i]]
    yield 'head', [module for module in (getattr(model, 'neck', None), getattr(model, 'head', None)) if module]


def _run(model: BaseModel, x: Tensor, alone: bool) -> Iterator[tuple[str, object]]:
    """Run the backbone and the head stage by stage: names and outputs.

    Args:
        alone: run each block also without its transition, with which it may be one operation.
    """
    backbone = model.backbone
    x = x.to(memory_format=backbone.memory_format)
    if isinstance(backbone, RDNet):
        x = backbone.stem(x)
        yield 'stem', x
        for i, stage in enumerate(backbone.stages):
            x = stage(x)
            yield f'stage {i + 1}', x
    else:
        x = yield from _run_densenet(backbone, x, alone)
    features = (x,) if getattr(model, 'neck', None) is None else model.neck((x,))
    yield 'head', model.head(features)


def _run_densenet(backbone: DenseNet, x: Tensor, alone: bool) -> Generator[tuple[str, Tensor], None, Tensor]:
    x = backbone._run_stem(x)
    yield 'stem', x
    for i, (block, transition) in enumerate(zip(backbone.stages, backbone.transitions)):
        last = i == backbone.num_stages - 1
        if alone or last:
            features = block(x)
            yield f'dense block {i + 1}', features
        if last:
            x = transition(features)
            yield 'final norm', x
        else:
            _, x = block.with_transition(x, transition)
            yield f'transition {i + 1}', x
    return x


@torch.no_grad()
def _multiply_adds(model: BaseModel, shape: tuple[int, int, int]) -> dict[str, int]:
    counts, before, block = {}, 0, 0
    images = torch.empty(1, *shape, device='meta')
    with Meter() as meter:
        for name, _ in _run(model, images, alone=True):
            count, before = meter.multiply_adds - before, meter.multiply_adds
            # the count of a transition includes its block, which was counted alone before
            counts[name] = count - block if name.startswith('transition') else count
            block = count if name.startswith('dense block') else 0
    return counts


def _kept_bytes(model: BaseModel, shape: tuple[int, int, int]) -> dict[str, float]:
    """The bytes per image that are alive after each stage of a forward pass, without the stage's output.

    An output that the next stage saves is counted there. A block includes its transition.
    """
    saved, before, batch = {}, 0, 2
    images = torch.empty(batch, *shape, device='meta')
    with Meter() as meter:
        for name, out in _run(model, images, alone=False):
            now = meter.live - sum(t.untyped_storage().nbytes() for t in ([out] if isinstance(out, Tensor) else out))
            saved[name.replace('transition', 'dense block')] = (now - before) / batch
            before = now
    return saved


def _runner(model: BaseModel, cfg: Config) -> SimpleNamespace:
    """The attributes of a runner that :mod:`mmdensenet.training.memory` needs, with the config's optimiser."""
    wrapper = deepcopy(cfg.get('optim_wrapper') or dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9)))
    for key in ('loss_scale', 'paramwise_cfg'):  # factors for some parameters need no memory, and mmengine logs each
        wrapper.pop(key, None)
    wrapper['type'] = 'OptimWrapper'  # float32, even if the config trains in mixed precision
    return SimpleNamespace(model=model, optim_wrapper=build_optim_wrapper(model, wrapper))


def random_batch(model: BaseModel, shape: tuple[int, int, int], count: int) -> tuple[Tensor, list]:
    """Images (N, C, H, W) and their labels, on the model's device."""
    from mmpretrain.models.heads import MultiLabelClsHead
    from mmpretrain.models.losses import LabelSmoothLoss
    from mmpretrain.structures import DataSample

    device = next(model.parameters()).device
    images = torch.zeros(count, *shape, device=device).normal_()
    loss = getattr(model.head, 'loss_module', None)
    soft = isinstance(loss, LabelSmoothLoss) or getattr(loss, 'use_sigmoid', False) or getattr(loss, 'use_soft', False)
    if isinstance(model.head, MultiLabelClsHead) or soft:
        return images, [
            DataSample().set_gt_score(torch.zeros(model.head.num_classes, device=device)) for _ in range(count)
        ]
    return images, [DataSample().set_gt_label(torch.zeros(1, dtype=torch.long, device=device)) for _ in range(count)]


def training_loss(model: BaseModel, images: Tensor, samples: list) -> Tensor:
    losses = model(images, samples, mode='loss')
    return sum(value.mean() for name, value in losses.items() if 'loss' in name)
