"""The cases that are measured: an architecture, a batch, a size, and training steps or evaluation."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from .architectures import ARCHITECTURES
from .candidates import CANDIDATES
from .machine import DTYPES
from .measure import MIB, Job, Workload

MODES = ('train', 'eval')


@dataclass(frozen=True)
class Case:
    """A table: ``mode`` is 'train' (forward, loss, backward, SGD with momentum) or 'eval'; bf16 is autocast."""

    arch: str
    batch: int
    size: int
    mode: str = 'train'
    dtype: str = 'fp32'

    def __str__(self) -> str:
        return f'{self.arch}-batch{self.batch}-{self.size}px-{self.mode}-{self.dtype}'


def _both(case: Case) -> list[Case]:
    return [case, replace(case, mode='eval')]


_CPU = [
    *_both(Case('121', 16, 224)),
    *_both(Case('121', 1, 224)),
    Case('121', 16, 224, dtype='bf16'),
    Case('201', 2, 224),
    Case('161', 2, 224),
    Case('264', 2, 224),
    Case('bc-100-12', 16, 32),
    Case('bc-190-40', 2, 32),
]
_GPU = [
    *_both(Case('121', 256, 224)),
    *_both(Case('121', 64, 224)),
    *_both(Case('121', 1, 224)),
    Case('201', 64, 224),
    Case('161', 64, 224),
    Case('264', 64, 224),
    Case('bc-100-12', 64, 32),
    Case('bc-190-40', 64, 32),
]
SUITES = {'cpu': _CPU, 'cuda': [replace(case, dtype='bf16') for case in _GPU]}


def job(name: str, case: Case, device: str, compiled: str | None = None) -> Job:
    """The job that measures a candidate, optionally through torch.compile in this mode."""
    return Job(partial(prepare, name, case, device, compiled), CANDIDATES[name].env, compiled is not None)


def prepare(name: str, case: Case, device: str, compiled: str | None = None) -> Workload:
    """Model, inputs and optimiser of a candidate; its step."""
    import torch

    candidate, arch = CANDIDATES[name], ARCHITECTURES[case.arch]
    model = candidate.model(arch).to(device)
    autocast = torch.autocast(
        device, getattr(torch, DTYPES[case.dtype]), enabled=case.dtype != 'fp32', cache_enabled=not candidate.graph
    )
    layout = torch.channels_last if candidate.channels_last else torch.contiguous_format
    images = torch.randn(case.batch, 3, case.size, case.size, device=device).to(memory_format=layout)
    labels = torch.randint(arch.classes, (case.batch,), device=device)
    run = torch.compile(model, mode=compiled) if compiled else model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9) if case.mode == 'train' else None
    made = workload(model, run, images, labels, autocast, optimizer)
    return captured(made) if candidate.graph else made


def workload(model, run: Callable, images, labels, autocast, optimizer) -> Workload:
    """A training step with this optimiser, or an evaluation where it is None; ``run`` is the model, or its compiled
    form."""
    import torch
    import torch.nn.functional as F

    model.train(optimizer is not None)
    device = images.device.type
    facts = dict(parameters=sum(parameter.numel() for parameter in model.parameters()))
    torch.backends.cudnn.benchmark = True  # the fastest algorithms for every candidate
    # the feature maps of ImageNet models shrink to a 32nd
    few = images[:2, :, :64, :64].clone()

    if optimizer is None:

        @torch.inference_mode()
        def evaluate(images=images) -> None:
            with autocast:
                run(images)

        return Workload(evaluate, rehearse=lambda: evaluate(few), device=device, facts=facts)

    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()  # its state belongs to the baseline
    optimizer.zero_grad()

    def train(images=images) -> None:
        with autocast:
            loss = F.cross_entropy(run(images), labels[: len(images)])
        loss.backward()
        optimizer.step()

    return Workload(train, optimizer.zero_grad, lambda: train(few), device, facts)


def captured(eager: Workload) -> Workload:
    """The step as a CUDA graph, whose memory is that of its capture: replaying allocates nothing."""
    import torch

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            eager.step()
            eager.between()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        eager.step()
    facts = eager.facts | dict(peak_mib=(torch.cuda.max_memory_allocated() - before) / MIB)

    def replay() -> None:
        graph.replay()

    replay.eager = eager  # the graph reads and writes memory that the step's model, images and optimiser own
    return Workload(replay, device='cuda', facts=facts)
