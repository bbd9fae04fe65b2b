"""Changes that users make to the structure of a model."""

from collections.abc import Callable

import torch
from torch import nn

from mmdensenet.models.densenet import DenseBlock, DenseLayer, DenseTransition

from .model_changes import replace


def _reordered(model):
    parts = model.transitions[0]._modules
    parts['act'] = parts.pop('act')


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
    extra_in_transition=lambda m: m.transitions[0].add_module('more', nn.Tanh()),
    extra_in_stem=lambda m: m.stem.add_module('4', nn.Tanh()),
    extra_in_last=lambda m: m.transitions[1].add_module('2', nn.Tanh()),
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
    fused_conv_and_norm=_fold,
    pruned_layer=_prune_layer,
    pruned_growth=_prune_growth,
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
