"""What people do to a model: changes of a module at some place, of a weight, of settings and of the structure."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

from mmdensenet.models.densenet import DenseBlock, DenseLayer, DenseTransition

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


def forward_on_instance(model, name):
    module = model.get_submodule(name)
    old = module.forward
    module.forward = lambda *args: scaled(old(*args))


def call_impl_on_instance(model, name):
    module = model.get_submodule(name)
    old = module._call_impl
    module._call_impl = lambda *args: scaled(old(*args))


def subclass(model, name):
    module = model.get_submodule(name)
    cls = type(module)
    module.__class__ = type('Scaled', (cls,), {'forward': lambda self, *args: scaled(cls.forward(self, *args))})


def subclass_call(model, name):
    module = model.get_submodule(name)
    cls = type(module)
    module.__class__ = type('Called', (cls,), {'__call__': lambda self, *args: scaled(cls.__call__(self, *args))})


def wrapped(model, name):
    class Wrapper(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, *args):
            return scaled(self.inner(*args))

    replace(model, name, Wrapper(model.get_submodule(name)))


def in_sequential(model, name):
    replace(model, name, nn.Sequential(model.get_submodule(name), nn.Identity()))


def forward_hook(model, name):
    model.get_submodule(name).register_forward_hook(lambda m, args, out: scaled(out))


def forward_hook_in_place(model, name):
    def change(m, args, out):
        for tensor in out if isinstance(out, tuple) else (out,):
            tensor.add_(0.25)

    model.get_submodule(name).register_forward_hook(change)


def pre_hook(model, name):
    def change(m, args):
        return ([f * 0.5 for f in args[0]],) if isinstance(args[0], list) else scaled(args)

    model.get_submodule(name).register_forward_pre_hook(change)


def hook_with_kwargs(model, name):
    model.get_submodule(name).register_forward_hook(lambda m, args, kwargs, out: scaled(out), with_kwargs=True)


def full_backward_hook(model, name):
    model.get_submodule(name).register_full_backward_hook(lambda m, given, out: tuple(
        g if g is None else g * 0.5 for g in given))  # fmt: skip


def backward_pre_hook(model, name):
    model.get_submodule(name).register_full_backward_pre_hook(lambda m, out: tuple(
        g if g is None else g * 0.5 for g in out))  # fmt: skip


def old_backward_hook(model, name):
    model.get_submodule(name).register_backward_hook(lambda m, given, out: tuple(
        g if g is None else g * 0.5 for g in given))  # fmt: skip


def half_precision(model, name):
    model.get_submodule(name).bfloat16()


def to_meta(model, name):
    model.get_submodule(name).to('meta')


def another_mode(model, name):
    module = model.get_submodule(name)
    module.train(not module.training)


def frozen(model, name):
    model.get_submodule(name).requires_grad_(False)


def channels_last(model, name):
    model.get_submodule(name).to(memory_format=torch.channels_last)


def harmless_attribute(model, name):
    model.get_submodule(name).remark = 'seen'


def shared_memory(model, name):
    model.get_submodule(name).share_memory()


MODULE_CHANGES = (
    forward_on_instance, call_impl_on_instance, subclass, subclass_call, wrapped, in_sequential, forward_hook,
    forward_hook_in_place, pre_hook, hook_with_kwargs, full_backward_hook, backward_pre_hook, old_backward_hook,
    half_precision, to_meta, another_mode, frozen, channels_last, harmless_attribute, shared_memory,
)  # fmt: skip


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


def _reordered(model):
    parts = model.transitions[0]._modules
    parts['act'] = parts.pop('act')


def _insert(sequential, name, module):
    sequential.add_module(name, module)


def _drop_and_reorder(place: str, order: str) -> Callable:
    """Dropout everywhere, whose draws depend on the order in memory, and one weight in another order than the rest."""

    def change(model):
        if order == 'contiguous_format':
            model.to(memory_format=torch.channels_last)
        weight = model.get_submodule(place).weight
        # a copy: a 1x1 weight counts as contiguous in either order
        weight.data = torch.empty_like(weight, memory_format=getattr(torch, order)).copy_(weight.data)
        for module in model.modules():
            if isinstance(module, DenseLayer):
                module.drop_rate = module.bottleneck_drop_rate = 0.3

    return change


#: changes of the structure: (model) -> None
STRUCTURES = dict(
    other_activation=lambda m: replace(m, 'stages.0.block.1.act', nn.LeakyReLU(0.1)),
    relu6=lambda m: replace(m, 'transitions.0.act', nn.ReLU6()),
    inplace_relu=lambda m: replace(m, 'stages.0.block.1.act', nn.ReLU(inplace=True)),
    all_inplace=lambda m: [setattr(r, 'inplace', True) for r in m.modules() if isinstance(r, nn.ReLU)],
    stem_activation=lambda m: replace(m, 'stem.2', nn.SiLU()),
    group_norm=lambda m: replace(m, 'stages.1.block.1.norm2', nn.GroupNorm(2, 16)),
    identity_norm=lambda m: replace(m, 'stages.0.block.0.norm2', nn.Identity()),
    instance_norm=lambda m: replace(m, 'transitions.0.norm', nn.InstanceNorm2d(16)),
    max_pool=lambda m: replace(m, 'transitions.0.pool', nn.MaxPool2d(2)),
    reordered_transition=_reordered,
    extra_in_transition=lambda m: _insert(m.transitions[0], 'more', nn.Tanh()),
    extra_in_stem=lambda m: _insert(m.stem, '4', nn.Tanh()),
    extra_in_last=lambda m: _insert(m.transitions[1], '2', nn.Tanh()),
    no_pool_in_stem=lambda m: m.stem._modules.pop('3'),
    no_pool_in_transition=lambda m: m.transitions[0]._modules.pop('pool'),
    no_conv_in_layer=lambda m: setattr(m.stages[0].block[1], 'conv2', None),
    no_norm_in_layer=lambda m: setattr(m.stages[0].block[1], 'norm2', None),
    one_layer_less=lambda m: m.stages[0].block._modules.pop('1'),
    no_layers=lambda m: m.stages[1].block._modules.clear(),
    swapped_layers=lambda m: m.stages[0].block._modules.update(
        {'0': m.stages[0].block[1], '1': m.stages[0].block[0]}),
    shared_norm=lambda m: setattr(m.stages[0].block[1], 'norm2', m.stages[0].block[0].norm2),
    shared_conv=lambda m: setattr(m.stages[0].block[1], 'conv2', m.stages[0].block[0].conv2),
    shared_weight=lambda m: setattr(m.stages[0].block[1].conv2, 'weight', m.stages[0].block[0].conv2.weight),
    list_of_layers=lambda m: m.stages[0].__dict__.update(block=list(m.stages[0]._modules.pop('block'))),
    sequential_stage=lambda m: replace(m, 'stages.0', nn.Sequential(m.stages[0], nn.Tanh())),
    wider_stem=lambda m: replace(m, 'stem.0', nn.Conv2d(3, 16, 7, 2, 3, bias=False)),
    drop_rate=lambda m: setattr(m.stages[0].block[1], 'drop_rate', 0.5),
    inner_drop_rate=lambda m: setattr(m.stages[0].block[0], 'bottleneck_drop_rate', 0.5),
    viewed_variance=lambda m: m.stages[0].block[1].norm2.register_buffer(
        'running_var', m.stages[0].block[0].norm2.running_var[:]),
    shared_variance=lambda m: m.stages[0].block[1].norm2.register_buffer(
        'running_var', m.stages[0].block[0].norm2.running_var),
    **{
        f'dropout_and_{order}_{place}': _drop_and_reorder(place, order)
        for place in ('stages.0.block.0.conv1', 'stages.0.block.1.conv2', 'transitions.0.conv')
        for order in ('channels_last', 'contiguous_format')
    },
    drop_rate_1=lambda m: setattr(m.stages[0].block[1], 'drop_rate', 1.0),
    drop_rate_wrong=lambda m: setattr(m.stages[0].block[1], 'drop_rate', 1.5),
    drop_rate_negative=lambda m: setattr(m.stages[0].block[1], 'drop_rate', -0.5),
    dropout_in_evaluation=lambda m: (setattr(m.stages[0].block[1], 'drop_rate', 0.5), setattr(
        m.stages[0].block[1], 'training', not m.training)),
    dropout_in_transition=lambda m: replace(m, 'transitions.0', nn.Sequential(
        *m.transitions[0][:3], nn.Dropout(0.5), m.transitions[0][3])),
    fused_conv_and_norm=lambda m: _fold(m),
    pruned_layer=lambda m: _prune_layer(m),
    pruned_growth=lambda m: _prune_growth(m),
    replaced_layer=lambda m: replace(m, 'stages.1.block.0', _like(DenseLayer(8, 4, 3), m)),
    replaced_block=lambda m: replace(m, 'stages.1', _like(DenseBlock(2, 8, 2, 4, bottleneck=False), m)),
    replaced_transition=lambda m: replace(m, 'transitions.0', _like(DenseTransition(16, 8, drop_rate=0.5), m)),
    mixed_layers=lambda m: replace(m, 'stages.1.block.1', _like(DenseLayer(12, 4, 2, bottleneck=False), m)),
    memory_efficient=lambda m: [setattr(layer, 'memory_efficient', True) for s in m.stages for layer in s.block],
    no_gradients=lambda m: m.requires_grad_(False),
    only_biases=lambda m: [p.requires_grad_('bias' in name) for name, p in m.named_parameters()],
    norms_in_evaluation=lambda m: [n.eval() for n in m.modules() if isinstance(n, nn.BatchNorm2d)],
    half_model=lambda m: m.half(),
    shared_norm_in_another_role=lambda m: setattr(m.stages[0].block[0], 'norm2', m.transitions[0].norm),
)  # fmt: skip


def _like(module: nn.Module, model: nn.Module) -> nn.Module:
    return module.to(next(model.parameters()).dtype).train(model.training)


def _fold(model):
    layer = model.stages[0].block[1].eval()
    layer.conv1 = torch.nn.utils.fusion.fuse_conv_bn_eval(layer.conv1, layer.norm2)
    layer.norm2 = nn.Identity()


def _prune_layer(model):
    """A bottleneck of another width."""
    layer = model.stages[0].block[1]
    layer.conv1.weight.data = layer.conv1.weight.data[:5].clone()
    layer.conv2.weight.data = layer.conv2.weight.data[:, :5].clone()
    for tensor in (*layer.norm2.parameters(), *layer.norm2.buffers()):
        if tensor.dim():
            tensor.data = tensor.data[:5].clone()


def _prune_growth(model):
    """Another growth rate of a block's last layer, and a transition that reads less."""
    model.stages[0].block[1].conv2.weight.data = model.stages[0].block[1].conv2.weight.data[:3].clone()
    model.transitions[0].conv.weight.data = model.transitions[0].conv.weight.data[:, :15].clone()
    norm = model.transitions[0].norm
    for tensor in (*norm.parameters(), *norm.buffers()):
        if tensor.dim():
            tensor.data = tensor.data[:15].clone()
