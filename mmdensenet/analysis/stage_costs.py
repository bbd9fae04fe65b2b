"""What a DenseNet or RDNet costs, by stage and engine: parameters, multiply-adds, memory of a training step.

Counted on torch's 'meta' device, where tensors have shapes and no data: the code that trains and evaluates is run, not
a second description of it. The measurement beside it runs real steps, each engine in a process of its own.
"""

import multiprocessing as mp
import sys
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from types import SimpleNamespace

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from mmdensenet.errors import UserError
from mmdensenet.models import DenseNet, RDNet
from mmdensenet.training import memory

from .meter import Meter

ENGINES = ('reference', 'fused')
#: images of the two steps from which memory is extrapolated; enough that small images, too, fill the temporaries of the
#: fused engine, whose size does not grow any more then
TWO_STEPS = (16, 32)
#: by how much the larger of two measured steps has to exceed the smaller, so that the allocator's pages do not matter
ENOUGH_BYTES = 64 * 2**20


@dataclass
class Stage:
    """One part of the model; the dicts have an entry for each engine that applies.

    ``multiply_adds`` are of one image in evaluation: convolutions and matrix products. ``kept_bytes`` are kept for
    backward for one image, without weights; those of a transition are in its block's, and None here.
    """

    name: str
    parameters: int
    multiply_adds: dict[str, int] = field(default_factory=dict)
    kept_bytes: dict[str, float | None] = field(default_factory=dict)


@dataclass
class StepMemory:
    """Bytes of a training step: ``constant``, and ``per_image``. Images of the two steps that they come from."""

    constant: float
    per_image: float
    images: tuple[int, int]

    def of(self, batch: int) -> float:
        return self.constant + batch * self.per_image

    def largest_batch(self, available: float, device: str | torch.device) -> int:
        """How many images fit into this many bytes, a tenth of which stays free on a GPU and a fifth on a CPU."""
        return memory.largest_batch(torch.device(device), available, self.constant, self.per_image)


def build_meta_model(cfg: Config, engine: str) -> BaseModel:
    """The config's classifier with this engine, without memory for its weights.

    Raises:
        UserError: if its backbone is not one of ours.
    """
    from mmpretrain.registry import MODELS

    init_default_scope(cfg.get('default_scope') or 'mmpretrain')
    settings = Config(deepcopy(cfg.to_dict()))
    for key in ('pretrained', 'train_cfg'):  # batch augmentation costs nothing that is counted, and logs
        settings.model.pop(key, None)
    kind = settings.model.get('backbone', {}).get('type')
    backbone = MODELS.get(kind) if isinstance(kind, str) else kind
    if not (isinstance(backbone, type) and issubclass(backbone, DenseNet | RDNet)):
        raise UserError(f'model.backbone.type={kind!r}: only mmdensenet.DenseNet and mmdensenet.RDNet are counted.')
    settings.model.backbone.engine = engine
    with torch.device('meta'):
        return MODELS.build(settings.model)


def count_stages(cfg: Config, shape: tuple[int, int, int], memory: bool = True) -> tuple[list[Stage], str | None]:
    """The stages in the order in which they run, and why the fused engine has no numbers (None: it has them).

    Args:
        shape: (C, H, W) of one image.
        memory: count ``kept_bytes`` too, which takes longer.
    """
    model = build_meta_model(cfg, 'reference')
    stages = [Stage(name, _parameters(modules)) for name, modules in _parts(model)]
    reason = None
    for engine in ENGINES:
        model = model if engine == 'reference' else build_meta_model(cfg, engine)
        try:
            counts = _multiply_adds(model.eval(), shape)
            kept = _kept_bytes(model.train(), shape) if memory else {}
        except RuntimeError as error:
            if engine == 'reference':
                raise UserError(f'images of {shape[1]}x{shape[2]} cannot be computed: {error}') from error
            reason = str(error)
            break
        for stage in stages:
            stage.multiply_adds[engine] = counts[stage.name]
            stage.kept_bytes[engine] = kept.get(stage.name)
    return stages, reason


def count_multiply_adds(cfg: Config, shape: tuple[int, int, int]) -> int:
    """Multiply-adds of the reference on one image (C, H, W), without the rest of :func:`count_stages`."""
    return sum(_multiply_adds(build_meta_model(cfg, 'reference').eval(), shape).values())


def predict_memory(cfg: Config, shape: tuple[int, int, int], engine: str) -> StepMemory:
    """Memory of a training step, from shapes: weights, gradients, the optimiser's state, activations and temporaries.

    In float32. Not in it: what libraries take inside an operation, and what the process and the driver need.
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
    """The same, from two training steps on random images, with :func:`mmdensenet.training.memory.measure`.

    In a new process: on a CPU the resident memory counts, with everything that the process holds, and on a GPU what
    torch's allocator has given out.

    Args:
        expected: the prediction, from which the number of images is chosen.

    Raises:
        UserError: if it cannot be measured here.
    """
    few = 2
    if expected is not None:
        few = min(256, max(2, round(ENOUGH_BYTES / expected.per_image)))
    job = dict(cfg=cfg.to_dict(), engine=engine, shape=shape, device=device, images=(few, 2 * few))
    context = mp.get_context('spawn')  # a forked process would begin with this one's memory
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
        text = str(error).strip() or type(error).__name__
        connection.send((False, text.splitlines()[0]))


class _AsItIs(nn.Module):
    """In the place of a preprocessor, whose mean and deviation were lost without data: these images need none."""

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


def _parameters(modules: list[nn.Module]) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def _run(model: BaseModel, x: Tensor, alone: bool) -> Iterator[tuple[str, object]]:
    """What the backbone's forward and the head do, one stage after another: names and results.

    Args:
        alone: before each block with its transition, which may be one operation, give the block's result too.
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
        for name, out in _run_densenet(backbone, x, alone):
            yield name, out
        x = out
    features = (x,) if getattr(model, 'neck', None) is None else model.neck((x,))
    yield 'head', model.head(features)


def _run_densenet(backbone: DenseNet, x: Tensor, alone: bool) -> Iterator[tuple[str, Tensor]]:
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


@torch.no_grad()
def _multiply_adds(model: BaseModel, shape: tuple[int, int, int]) -> dict[str, int]:
    counts, before, block = {}, 0, 0
    images = torch.empty(1, *shape, device='meta')
    with Meter() as meter:
        for name, _ in _run(model, images, alone=True):
            count, before = meter.multiply_adds - before, meter.multiply_adds
            # a transition is counted with its block, which was counted alone before it
            counts[name] = count - block if name.startswith('transition') else count
            block = count if name.startswith('dense block') else 0
    return counts


def _kept_bytes(model: BaseModel, shape: tuple[int, int, int], batch: int = 2) -> dict[str, float]:
    """Bytes for one image that are still there after each stage of a forward pass, but for the result itself.

    A result that the next stage keeps is counted there. A block includes its transition.
    """
    kept, before = {}, 0
    images = torch.empty(batch, *shape, device='meta')
    with Meter() as meter:
        for name, out in _run(model, images, alone=False):
            now = meter.live - sum(t.untyped_storage().nbytes() for t in ([out] if isinstance(out, Tensor) else out))
            kept[name.replace('transition', 'dense block')] = (now - before) / batch
            before = now
    return kept


def _runner(model: BaseModel, cfg: Config) -> SimpleNamespace:
    """What :mod:`mmdensenet.training.memory` needs of a runner, with the config's optimiser."""
    wrapper = deepcopy(cfg.get('optim_wrapper') or dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9)))
    for key in ('loss_scale', 'paramwise_cfg'):  # factors for some parameters need no memory, and mmengine logs each
        wrapper.pop(key, None)
    wrapper['type'] = 'OptimWrapper'  # in float32, also where training would be mixed
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
