"""Changes that users make to a model: of a module at some place, of a weight, of settings."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

# Places: one of each kind, in the middle of the network, and the containers.
CONVS = ('stem.0', 'stages.0.block.1.conv1', 'stages.1.block.0.conv2', 'transitions.0.conv')
NORMS = ('stem.1', 'stages.0.block.0.norm1', 'stages.1.block.1.norm2', 'transitions.0.norm')
OTHERS = ('stem.3', 'stages.0.block.1.act', 'transitions.0.act', 'transitions.0.pool', 'transitions.1.0')
CONTAINERS = ('', 'stem', 'stages.0', 'stages.1', 'stages.0.block.1', 'transitions.0', 'transitions.1')
EVERYWHERE = CONVS + NORMS + OTHERS + CONTAINERS


def replace(model: nn.Module, name: str, new: nn.Module) -> None:
    parent, _, child = name.rpartition('.')
    model.get_submodule(parent)._modules[child] = new


def scaled(value):
    return tuple(map(scaled, value)) if isinstance(value, tuple) else value * 0.5


# --- changes of a module: (model, name) -> None


def _method(module: nn.Module, name: str) -> None:
    """A method of the instance with half of its results."""
    old = getattr(module, name)
    setattr(module, name, lambda *args: scaled(old(*args)))


def _subclass(module: nn.Module, name: str) -> None:
    """The same by a class of its own."""
    cls = type(module)
    module.__class__ = type('Own', (cls,), {name: lambda self, *args: scaled(getattr(cls, name)(self, *args))})


class _Wrapper(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, *args):
        return scaled(self.inner(*args))


def _change_in_place(module, args, out):
    for tensor in out if isinstance(out, tuple) else (out,):
        tensor.add_(0.25)


def _change_before(module, args):
    return ([f * 0.5 for f in args[0]],) if isinstance(args[0], list) else scaled(args)


def _halve(gradients):
    return tuple(g if g is None else g * 0.5 for g in gradients)


def _of(change: Callable[[nn.Module], object]) -> Callable[[nn.Module, str], None]:
    return lambda model, name: change(model.get_submodule(name))


MODULE_CHANGES = dict(
    forward_on_instance=_of(lambda m: _method(m, 'forward')),
    call_impl_on_instance=_of(lambda m: _method(m, '_call_impl')),
    subclass=_of(lambda m: _subclass(m, 'forward')),
    subclass_call=_of(lambda m: _subclass(m, '__call__')),
    wrapped=lambda model, name: replace(model, name, _Wrapper(model.get_submodule(name))),
    in_sequential=lambda model, name: replace(model, name, nn.Sequential(model.get_submodule(name), nn.Identity())),
    forward_hook=_of(lambda m: m.register_forward_hook(lambda m, args, out: scaled(out))),
    forward_hook_in_place=_of(lambda m: m.register_forward_hook(_change_in_place)),
    pre_hook=_of(lambda m: m.register_forward_pre_hook(_change_before)),
    hook_with_kwargs=_of(lambda m: m.register_forward_hook(lambda m, args, kwargs, out: scaled(out), with_kwargs=True)),
    full_backward_hook=_of(lambda m: m.register_full_backward_hook(lambda m, given, out: _halve(given))),
    backward_pre_hook=_of(lambda m: m.register_full_backward_pre_hook(lambda m, out: _halve(out))),
    old_backward_hook=_of(lambda m: m.register_backward_hook(lambda m, given, out: _halve(given))),
    half_precision=_of(lambda m: m.bfloat16()),
    to_meta=_of(lambda m: m.to('meta')),
    another_mode=_of(lambda m: m.train(not m.training)),
    frozen=_of(lambda m: m.requires_grad_(False)),
    channels_last=_of(lambda m: m.to(memory_format=torch.channels_last)),
    harmless_attribute=_of(lambda m: setattr(m, 'remark', 'seen')),
    shared_memory=_of(lambda m: m.share_memory()),
)


# --- changes of a weight: (module) -> None


def _set(module: nn.Module, name: str, tensor: Tensor) -> None:
    """As a plain attribute."""
    delattr(module, name)
    setattr(module, name, tensor)


class _Sub(Tensor):
    pass


class _Halved(nn.Module):
    def forward(self, w):
        return w * 0.5


def _inference(module):
    with torch.inference_mode():
        module.weight = nn.Parameter(module.weight.clone())


def _data(module, change: Callable[[Tensor], Tensor]):
    module.weight.data = change(module.weight.data)


WEIGHT_CHANGES = dict(
    plain_tensor=lambda m: _set(m, 'weight', m.weight.detach() * 0.5),
    plain_tensor_with_gradient=lambda m: _set(m, 'weight', m.weight.detach() * torch.tensor(
        0.5, dtype=m.weight.dtype, requires_grad=True)),
    in_dict=lambda m: m.__dict__.update(weight=m.weight.detach() * 0.5),
    in_parameters=lambda m: m._parameters.update(weight=m.weight.detach() * 0.5),
    parametrised=lambda m: parametrize.register_parametrization(m, 'weight', _Halved()),
    weight_norm=lambda m: parametrizations.weight_norm(m),
    old_weight_norm=lambda m: torch.nn.utils.weight_norm(m),
    spectral_norm=lambda m: m.weight.dim() > 1 and parametrizations.spectral_norm(m),
    pruned=lambda m: prune.l1_unstructured(m, 'weight', 0.4),
    pruned_for_good=lambda m: prune.remove(prune.l1_unstructured(m, 'weight', 0.4), 'weight'),
    tensor_subclass=lambda m: m._parameters.update(weight=m.weight.detach().as_subclass(_Sub)),
    none=lambda m: setattr(m, 'weight', None),
    inference=_inference,
    wider=lambda m: _data(m, lambda w: torch.cat([w, w])),
    narrower=lambda m: _data(m, lambda w: w[:1].clone()),
    other_inner=lambda m: _data(m, lambda w: torch.cat([w, w], -1) if w.dim() == 1 else torch.cat([w, w], 1)),
    other_dims=lambda m: _data(m, lambda w: w[None].clone()),
    strided=lambda m: _data(m, lambda w: torch.stack([w, w], -1)[..., 0]),
    transposed=lambda m: _data(m, lambda w: w.transpose(0, -1).contiguous().transpose(0, -1)),
    expanded=lambda m: _data(m, lambda w: w.flatten()[:1].view([1] * w.dim()).expand(w.shape)),
    negated=lambda m: m._parameters.update(weight=torch._neg_view(m.weight.detach())),
    freed=lambda m: m.weight.untyped_storage().resize_(0),
    meta=lambda m: setattr(m, 'weight', nn.Parameter(m.weight.detach().to('meta'))),
    sparse=lambda m: setattr(m, 'weight', nn.Parameter(m.weight.detach().to_sparse())),
    mkldnn=lambda m: m._parameters.update(weight=m.weight.detach().float().to_mkldnn()),
    half=lambda m: m.half(),
    other_float=lambda m: m.to(torch.float32 if m.weight.dtype == torch.float64 else torch.float64),
    integers=lambda m: m._parameters.update(weight=m.weight.detach().int()),
    complex=lambda m: m._parameters.update(weight=m.weight.detach().cfloat()),
    nested=lambda m: m._parameters.update(weight=torch.nested.nested_tensor([m.weight.detach()])),
    nan=lambda m: m.weight.data.view(-1)[:1].fill_(float('nan')),
    infinite=lambda m: m.weight.data.view(-1)[:1].fill_(float('inf')),
    frozen=lambda m: m.weight.requires_grad_(False),
    gradient_hook=lambda m: m.weight.register_hook(lambda g: g * 0.5),
)  # fmt: skip


def _statistics(module, **values):
    module._buffers.update(values)


NORM_CHANGES = dict(
    no_bias=lambda m: setattr(m, 'bias', None),
    no_weight_or_bias=lambda m: (setattr(m, 'weight', None), setattr(m, 'bias', None)),
    no_statistics=lambda m: _statistics(m, running_mean=None, running_var=None),
    no_mean=lambda m: _statistics(m, running_mean=None),
    no_counter=lambda m: _statistics(m, num_batches_tracked=None),
    not_tracking=lambda m: setattr(m, 'track_running_stats', False),
    affine_false=lambda m: setattr(m, 'affine', False),
    momentum_none=lambda m: setattr(m, 'momentum', None),
    momentum_0=lambda m: setattr(m, 'momentum', 0),
    momentum_1=lambda m: setattr(m, 'momentum', 1.0),
    momentum_tensor=lambda m: setattr(m, 'momentum', torch.tensor(0.3)),
    other_eps=lambda m: setattr(m, 'eps', 0.1),
    eps_integer=lambda m: setattr(m, 'eps', 1),
    other_features=lambda m: setattr(m, 'num_features', 999),
    statistics_with_gradient=lambda m: m.running_mean.requires_grad_(),
    wider_statistics=lambda m: _statistics(m, running_mean=torch.cat([m.running_mean] * 2)),
    expanded_statistics=lambda m: _statistics(m, running_var=m.running_var[:1].expand(len(m.running_var))),
    strided_statistics=lambda m: _statistics(m, running_var=torch.stack([m.running_var] * 2, 1)[:, 0]),
    other_statistics=lambda m: _statistics(m, running_var=m.running_var.half()),
    meta_statistics=lambda m: _statistics(m, running_var=m.running_var.to('meta')),
    infinite_statistics=lambda m: m.running_var[:1].fill_(float('inf')),
    negative_statistics=lambda m: m.running_var[:1].fill_(-1.0),
    attribute_statistics=lambda m: m.__dict__.update(running_mean=m.running_mean + 1),
    batch_statistics_class=lambda m: setattr(m, '__class__', nn.BatchNorm3d),
    sync=lambda m: setattr(m, '__class__', type(nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(m)))),
    counter_as_parameter=lambda m: m._parameters.update(num_batches_tracked=m._buffers.pop('num_batches_tracked')),
    negative_eps=lambda m: setattr(m, 'eps', -1.0),
    eps_0=lambda m: setattr(m, 'eps', 0.0),
    counter_with_gradient=lambda m: _statistics(m, num_batches_tracked=torch.tensor(1.0, requires_grad=True)),
    counter_that_is_a_parameter=lambda m: m._parameters.update(num_batches_tracked=torch.tensor([1, 2])),
)

CONV_CHANGES = dict(
    padding_mode=lambda m: (setattr(m, 'padding_mode', 'circular'), setattr(
        m, '_reversed_padding_repeated_twice', [p for p in reversed(m.padding) for _ in range(2)])),
    dilation=lambda m: setattr(m, 'dilation', (2, 2)),
    stride=lambda m: setattr(m, 'stride', (2, 1)),
    stride_integer=lambda m: setattr(m, 'stride', m.stride[0]),
    groups=lambda m: setattr(m, 'groups', 2),
    padding=lambda m: setattr(m, 'padding', (2, 2)),
    padding_same=lambda m: setattr(m, 'padding', 'same' if m.stride == (1, 1) else 'valid'),
    bias=lambda m: setattr(m, 'bias', nn.Parameter(m.weight.detach()[:, 0, 0, 0].clone())),
    conv_forward=lambda m: setattr(m, '_conv_forward', lambda x, w, b: type(m)._conv_forward(m, x, w * 0.5, b)),
    attributes_only=lambda m: (setattr(m, 'in_channels', 7), setattr(m, 'kernel_size', (9, 9))),
    float_groups=lambda m: setattr(m, 'groups', 1.0),
)  # fmt: skip

POOL_CHANGES = dict(
    ceil_mode=lambda m: setattr(m, 'ceil_mode', True),
    divisor=lambda m: setattr(m, 'divisor_override', 3),
    padding=lambda m: setattr(m, 'padding', 1),
    not_counting_padding=lambda m: (setattr(m, 'padding', 1), setattr(m, 'count_include_pad', False)),
    kernel=lambda m: setattr(m, 'kernel_size', 3),
    kernel_pair=lambda m: setattr(m, 'kernel_size', (2, 3)),
    stride=lambda m: setattr(m, 'stride', (2, 1)),
    dilation=lambda m: setattr(m, 'dilation', 2),
    divisor_0=lambda m: setattr(m, 'divisor_override', 0),
)
