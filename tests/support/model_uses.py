"""Inputs and uses of a model; a use gets the model and images, and returns the values to compare."""

import copy
import io
import pickle
from contextlib import contextmanager

import torch
import torch.utils.checkpoint
from support import functional_uses, returned_uses, watched_uses
from support.model_steps import loss_of, state, step, weights_of
from support.returned_uses import between
from support.watched_uses import Counting, Functions, Sub, under
from torch import nn
from torch.nn.modules import module as torch_module


def saved_in_half(model, x):
    hooks = torch.autograd.graph.saved_tensors_hooks(lambda t: t.detach().clone(), lambda t: t.contiguous())
    with hooks:
        outs = model(x)
    loss_of(outs).backward()
    return state(model)


def twice(model, x):
    outs = model(x)
    loss_of(outs).backward(retain_graph=True)
    loss_of(outs).backward()
    return [*state(model), x.grad]


def two_forwards(model, x):
    loss = loss_of(model(x)) + loss_of(model(x * 0.5))
    loss.backward()
    return [*state(model), x.grad]


def input_alone(model, x):
    return list(torch.autograd.grad(loss_of(model(x)), x)) + state(model)


def one_weight_alone(model, x):
    weights = [model.stages[0].block[0].conv2.weight, model.transitions[0].norm.bias]
    return list(torch.autograd.grad(loss_of(model(x)), weights)) + state(model)


def first_output_alone(model, x):
    outs = model(x)
    (outs[0] * weights_of(outs[0])).sum().backward()
    return [*state(model), x.grad]


def both_modes(model, x):
    """Evaluation's graph behind a training step that has changed the running statistics."""
    loss = loss_of(model.eval()(x))
    (loss + loss_of(model.train()(x * 0.5))).backward()
    return [*state(model), x.grad]


def changed_in_place(change):
    def use(model, x):
        outs = model(x)
        outs = [change(out) for out in outs[:1]]
        loss_of(outs).backward()
        return [out.detach() for out in outs] + [*state(model), x.grad]

    return use


def changed_after_no_grad(model, x):
    with torch.no_grad():
        outs = model(x)
    scale = torch.full((), 2.0, dtype=x.dtype, requires_grad=True)
    outs = [out.mul_(scale) for out in outs]
    loss_of(outs).backward()
    return [out.detach() for out in outs] + [scale.grad]


def block_alone(change):
    def use(model, x):
        with torch.no_grad():
            features = model.stem(x)
        block = model.stages[0]
        out = change(block(features.requires_grad_()))
        loss_of([out]).backward()
        return [out.detach(), features.grad, *state(block)]

    return use


def weight_changed_between(*names):
    return between(lambda model: [model.get_parameter(name).detach().mul_(0.5) for name in names])


def statistics_changed_between(name):
    return between(lambda model: model.get_buffer(name).mul_(0.5))


def backward_under(context):
    """Forward outside of it."""

    def use(model, x):
        loss = loss_of(model(x))
        with context() as entered:
            loss.backward()
        return [*state(model), x.grad, getattr(entered, 'convolutions', 0)]

    return use


def evaluation_then_training(model, x):
    first = loss_of(model.eval()(x))
    loss_of(model.train()(x)).backward()
    return [first.detach(), *state(model)]


def _through_file(model):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def accumulated(model, x):
    for _ in range(2):
        loss_of(model(x)).backward()
    return [*state(model), x.grad]


def mmengine_checkpointing(model, x):
    from mmengine.runner import turn_on_activation_checkpointing

    turn_on_activation_checkpointing(model, ['stages.0', 'stages.1.block.1'])
    return step(model, x)


def all_hooks(register):
    def use(model, x):
        seen = []
        handle = register(lambda module, *_: seen.append(type(module).__name__))
        try:
            results = step(model, x)
        finally:
            handle.remove()
        return [len(seen), *results]

    return use


def averaged(model, x):
    from torch.optim.swa_utils import AveragedModel

    average = AveragedModel(model)
    average.update_parameters(model)
    return step(average, x)


def trained(model, x):
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    for _ in range(3):
        optimiser.zero_grad()
        loss_of(model(x)).backward()
        optimiser.step()
    return [p.detach() for p in model.parameters()] + state(model)


def nested_autocast(model, x):
    with torch.autocast('cpu', dtype=torch.bfloat16), torch.autocast('cpu', enabled=False):
        return step(model, x)


def seeded(model, x):
    """A step with dropout in every layer."""
    for stage in model.stages:
        for layer in stage.block:
            layer.drop_rate, layer.bottleneck_drop_rate = 0.3, 0.2
    torch.manual_seed(3)
    return [*step(model, x), torch.rand(3)]


@contextmanager
def switched(switch, value, before):
    """A global setting of torch's."""
    switch(value)
    try:
        yield
    finally:
        switch(before)


def aot(model, x):
    from torch._functorch.aot_autograd import aot_module_simplified

    compiled = aot_module_simplified(model, (x.detach(),), fw_compiler=lambda graph, _: graph)
    return [out.detach() for out in compiled(x.detach())]


def fake(model, x):
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        return [tuple(out.shape) for out in model(mode.from_tensor(x.detach()))]


def fake_outside(model, x):
    from torch._subclasses.fake_tensor import FakeTensorMode

    return [tuple(out.shape) for out in model(FakeTensorMode(allow_non_fake_inputs=True).from_tensor(x.detach()))]


USES = dict(
    plain=step,
    nested_autocast=nested_autocast,
    deterministic=under(lambda: switched(torch.use_deterministic_algorithms, True, False)),
    anomaly=under(lambda: torch.autograd.detect_anomaly(check_nan=True)),
    default_dtype=under(lambda: switched(torch.set_default_dtype, torch.float64, torch.get_default_dtype())),
    aot=aot,
    fake=fake,
    fake_outside=fake_outside,
    mmengine_checkpointing=mmengine_checkpointing,
    saved_tensors_hooks=saved_in_half,
    twice=twice,
    two_forwards=two_forwards,
    both_modes=both_modes,
    accumulated=accumulated,
    input_alone=input_alone,
    one_weight_alone=one_weight_alone,
    first_output_alone=first_output_alone,
    relu_in_place=changed_in_place(torch.relu_),
    sliced_in_place=changed_in_place(lambda out: (out[:, 1:].mul_(2), out)[1]),
    under_no_grad_in_place=changed_in_place(lambda out: (out.data.mul_(2), out)[1]),
    changed_after_no_grad=changed_after_no_grad,
    block_in_place=block_alone(lambda out: out.mul_(2)),
    block_zeroed=block_alone(lambda out: (out.detach().zero_(), out)[1]),
    biases_changed_between=weight_changed_between('stages.0.block.0.norm1.bias', 'transitions.0.norm.bias'),
    weights_changed_between=weight_changed_between('stages.0.block.0.conv2.weight'),
    gammas_changed_between=weight_changed_between('stages.0.block.1.norm2.weight'),
    means_changed_between=statistics_changed_between('stages.0.block.0.norm1.running_mean'),
    variances_changed_between=statistics_changed_between('stages.0.block.1.norm2.running_var'),
    transition_changed_between=statistics_changed_between('transitions.0.norm.running_var'),
    stem_changed_between=statistics_changed_between('stem.1.running_mean'),
    counters_changed_between=between(lambda m: m.get_buffer('stages.0.block.1.norm2.num_batches_tracked').zero_()),
    statistics_changed_unseen=between(
        lambda m: [m.get_buffer(f'stages.0.block.0.norm1.running_{kind}').data.mul_(1) for kind in ('mean', 'var')]
    ),
    backward_under_dispatch_mode=backward_under(Counting),
    backward_under_function_mode=backward_under(Functions),
    backward_on_another_device=backward_under(lambda: torch.device('meta')),
    evaluation_then_training=evaluation_then_training,
    deepcopy=lambda model, x: step(copy.deepcopy(model), x),
    pickled=lambda model, x: step(pickle.loads(pickle.dumps(model)), x),
    saved=lambda model, x: step(_through_file(model), x),
    averaged=averaged,
    trained=trained,
    optimised_input=lambda model, x: step(model, nn.Parameter(x.detach().clone())),
    viewed=lambda model, x: [out.view(len(out), -1) for out in model(x)],
    seeded=seeded,
    global_forward_hook=all_hooks(torch_module.register_module_forward_hook),
    global_pre_hook=all_hooks(torch_module.register_module_forward_pre_hook),
    global_backward_hook=all_hooks(torch_module.register_module_full_backward_hook),
    global_backward_pre_hook=all_hooks(torch_module.register_module_full_backward_pre_hook),
    **watched_uses.USES,
    **functional_uses.USES,
    **returned_uses.USES,
)


#: what is given to the model: of images (2, 3, 17, 18)
INPUTS = dict(
    one=lambda x: x[:1],
    none=lambda x: x[:0],
    one_pixel=lambda x: x[..., :1, :1],
    one_pixel_alone=lambda x: x[:1, :, :1, :1],
    few_pixels=lambda x: x[..., :3, :5],
    no_pixels=lambda x: x[..., :0],
    three_dimensions=lambda x: x[0],
    five_dimensions=lambda x: x[None],
    one_channel=lambda x: x[:, :1],
    four_channels=lambda x: torch.cat([x, x[:, :1]], 1),
    other_float=lambda x: x.to(torch.float32 if x.dtype == torch.float64 else torch.float64),
    bfloat16=lambda x: x.bfloat16(),
    half=lambda x: x.half(),
    integers=lambda x: (x * 10).long(),
    bytes=lambda x: (x * 10).byte(),
    boolean=lambda x: x > 0,
    complex=lambda x: torch.complex(x, x),
    negated=torch._neg_view,
    imaginary=lambda x: torch.complex(x, x).conj().imag,
    expanded=lambda x: x[:1].expand(3, -1, -1, -1),
    transposed=lambda x: x.transpose(2, 3),
    channels_last=lambda x: x.to(memory_format=torch.channels_last),
    strided=lambda x: x[..., ::2],
    sparse=lambda x: x.to_sparse(),
    mkldnn=lambda x: x.float().to_mkldnn(),
    nested=lambda x: torch.nested.nested_tensor([x[0], x[1]]),
    quantised=lambda x: torch.quantize_per_tensor(x.float(), 0.1, 0, torch.quint8),
    meta=lambda x: x.to('meta'),
    subclass=lambda x: x.as_subclass(Sub),
    functional=torch._to_functional_tensor,
    inference=torch.inference_mode()(torch.clone),
    nan=lambda x: torch.cat([x[:1], torch.full_like(x[1:], float('nan'))]),
    infinite=lambda x: torch.cat([x[:1], torch.full_like(x[1:], float('inf'))]),
    huge=lambda x: x * 1e30,
    array=lambda x: x.numpy(),
    list=lambda x: [x],
    nothing=lambda x: None,
)
