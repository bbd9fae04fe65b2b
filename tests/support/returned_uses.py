"""Uses of what a model returns, of what lies between forward and backward, and of memory that several tensors share."""

from unittest import mock

import torch
import torch.nn.functional as F
from support.model_steps import loss_of, state, step
from support.watched_uses import forward_only, function_patched, under
from torch import Tensor, nn

from mmdensenet import ops


def before_transitions(use):
    def of_features(model, x):
        model.out_before_transition = True
        return use(model, x)

    return of_features


def retained_gradient(model, x):
    """Retain the gradient of the first output, of which the second is a function."""
    outs = model(x)
    outs[0].retain_grad()
    loss_of(outs).backward()
    return [outs[0].grad.view(len(x), -1), *state(model), x.grad]


def gradient_of_first_output(model, x):
    first, *others = model(x)
    return list(torch.autograd.grad(loss_of(others), first))


def first_output_in_place(model, x):
    """Before backward, which the reference notices where something has kept it."""
    outs = model(x)
    outs[0].mul_(2)
    loss_of(outs).backward()
    return [*state(model), x.grad]


def of_block(change):
    """Block and transition by hand, for features that lie otherwise in memory."""

    def use(model, x):
        features = change(model.stem(x).detach()).requires_grad_()
        out = model.stages[0](features)
        both = model.stages[0].with_transition(features, model.transitions[0], keep_features=True)
        (grad,) = torch.autograd.grad(loss_of([out, *both]), features)
        maps = [out, grad, *both]
        return [*(m.detach() for m in maps), *([s for s, n in zip(m.stride(), m.shape) if n > 1] for m in maps)]

    return use


def strides(change):
    """Strides of the outputs, with one part's weights in channels-last order."""

    def use(model, x):
        model.get_submodule(change).to(memory_format=torch.channels_last)
        return [[*out.stride()] for out in model(x)] + step(model, x)

    return use


def weights_in_order_and_dropout(model, x):
    """Weights in channels-last order behind a stem that is not, and dropout, which draws in the order of the maps."""
    model.stages.to(memory_format=torch.channels_last)
    model.transitions.to(memory_format=torch.channels_last)
    for layer in (layer for stage in model.stages for layer in stage.block):
        layer.drop_rate = 0.3
    torch.manual_seed(3)
    return step(model, x)


def between(change):
    """Change the model between forward and backward."""

    def use(model, x):
        loss = loss_of(model(x))
        change(model)
        loss.backward()
        return [*state(model), x.grad]

    return use


def changed_unseen(name):
    """Change a weight without autograd's notice, as EMA does when it swaps weights."""
    return between(lambda model: model.get_parameter(name).data.mul_(0.5))


def statistics_in(memory):
    """Statistics of a norm in the memory of something else of its layer."""

    def use(model, x):
        layer = model.stages[0].block[0]
        memory(layer, model.stages[0].block[1])
        return step(model, x)

    return use


def _overlapping(first, second):
    values = torch.ones(24, dtype=first.norm2.weight.dtype)
    first.norm2.running_mean, second.norm2.running_mean = values[:16], values[8:]


class _HalfFunctions:
    """torch.nn.functional with results of half the size."""

    def __getattr__(self, name):
        function = getattr(F, name)

        def half(*args, **kwargs):
            out = function(*args, **kwargs)
            return out * 0.5 if isinstance(out, Tensor) else out

        return half if callable(function) else function


def functions_of(module):
    return under(lambda: mock.patch.object(module, 'F', _HalfFunctions()))


def kernel_replaced(name):
    """Let torch compute a function as half a ReLU."""

    def use(model, x):
        library = torch.library.Library('aten', 'IMPL')
        library.impl(name, lambda x, **_: torch.clamp(x, min=0) * 0.5, 'CPU')
        try:
            return forward_only(torch.no_grad)(model, x)
        finally:
            library._destroy()

    return use


USES = dict(
    retained_gradient=retained_gradient,
    retained_gradient_of_features=before_transitions(retained_gradient),
    gradient_of_first_output=gradient_of_first_output,
    gradient_of_features=before_transitions(gradient_of_first_output),
    first_output_in_place=first_output_in_place,
    features_in_place=before_transitions(first_output_in_place),
    features=before_transitions(step),
    **{
        f'{name}_block': of_block(change)
        for name, change in dict(
            contiguous=lambda x: x,
            channels_last=lambda x: x.contiguous(memory_format=torch.channels_last),
            transposed=lambda x: x.transpose(2, 3),
            batch_last=lambda x: x.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2),
            strided=lambda x: torch.cat([x, x], 1)[:, ::2],
            expanded=lambda x: x[:1, :, :1].expand(3, -1, 5, -1),
        ).items()
    },
    **{f'order_of_{part}': strides(part) for part in ('stages.0', 'stages.1', 'transitions.0')},
    weights_in_order_and_dropout=weights_in_order_and_dropout,
    **{
        f'{name}_changed_unseen': changed_unseen(name)
        for name in (
            'stem.1.weight', 'stages.0.block.0.norm1.weight', 'stages.1.block.1.norm2.weight',
            'transitions.0.norm.weight', 'stem.1.bias', 'stages.0.block.1.norm1.bias',
            'stages.0.block.0.norm2.bias', 'stages.0.block.0.conv1.weight',
        )
    },
    mean_in_bias=statistics_in(lambda one, _: setattr(one.norm2, 'running_mean', one.norm2.bias.data)),
    variance_in_weight=statistics_in(lambda one, _: setattr(one.norm2, 'running_var', one.norm2.weight.data)),
    mean_in_variance=statistics_in(lambda one, _: setattr(one.norm2, 'running_mean', one.norm2.running_var)),
    overlapping_means=statistics_in(_overlapping),
    **{
        f'functions_of_{module.__name__}': functions_of(module)
        for module in (nn.modules.conv, nn.modules.batchnorm, nn.modules.activation, nn.modules.pooling)
    },
    dense_layer_patched=function_patched('dense_layer', ops),
    dense_block_patched=function_patched('dense_block', ops),
    kernel_replaced=kernel_replaced('relu'),
)  # fmt: skip
