"""Changes and uses of RDNet; a use gets the model and images, and returns the values to compare."""

import copy
from collections import OrderedDict

import torch
import torch.nn.functional as F
from support import model_changes
from support.model_steps import loss_of, state, step
from support.model_uses import backward_under
from support.returned_uses import between, functions_of, kernel_replaced
from support.watched_uses import class_property, function_patched, under
from torch import nn
from torch.nn.utils import prune

from mmdensenet import ops
from mmdensenet.models import RDNetStage, rdnet

#: one without and one with eSE
BLOCK, OTHER = 'stages.0.blocks.1', 'stages.1.blocks.0'


def of(place, change):
    return lambda model: change(model.get_submodule(place))


def in_dict(**values):
    return lambda module: module.__dict__.update({name: make(module) for name, make in values.items()})


def with_extra(kind):
    def change(module):
        extra = nn.Parameter(torch.ones(3, dtype=torch.float64))
        if kind == 'module':
            module.add_module('extra', nn.Conv2d(3, 3, 1).double())
        elif kind == 'parameter':
            module.register_parameter('extra', extra)
        else:
            module.remark = extra * 1

    return change


def as_buffer(name):
    def change(module):
        old = getattr(module, name)
        delattr(module, name)
        module.register_buffer(name, old.detach())

    return change


def gamma_of_another(model):
    """A plain tensor with a gradient, as hypernetworks set them."""
    block = model.get_submodule(BLOCK)
    model.register_parameter('outer', nn.Parameter(block.gamma.detach().clone()))
    del block.gamma
    block.gamma = model.outer * 2


def ese_in_sequence(model):
    ese = model.get_submodule(OTHER).ese
    model_changes.replace(model, f'{OTHER}.ese', nn.Sequential(OrderedDict(pool=ese.pool, fc=ese.fc, gate=ese.gate)))


def doubled(part):
    made = copy.deepcopy(part)
    made.weight.data.mul_(2)
    return made


CHANGES = dict(
    gamma_of_another=gamma_of_another,
    gamma_in_dict=of(BLOCK, in_dict(gamma=lambda m: None)),
    ese_in_dict=of(OTHER, in_dict(ese=lambda m: None)),
    convolution_in_dict=of(BLOCK, in_dict(dwconv=lambda m: doubled(m.dwconv))),
    gamma_as_buffer=of(BLOCK, as_buffer('gamma')),
    weight_as_buffer=of(f'{BLOCK}.pwconv1', as_buffer('weight')),
    bias_as_buffer=of(f'{OTHER}.ese.fc', as_buffer('bias')),
    **{
        f'extra_{kind}_of_{place}': of(place, with_extra(kind))
        for kind, place in (
            ('parameter', BLOCK), ('parameter', f'{BLOCK}.act'), ('module', f'{OTHER}.ese'), ('tensor', BLOCK),
            ('module', f'{BLOCK}.norm'), ('tensor', f'{BLOCK}.pwconv1'), ('parameter', f'{OTHER}.ese.pool'),
        )
    },
    ese_in_sequence=ese_in_sequence,
    torchs_layer_norm=lambda m: model_changes.replace(m, f'{BLOCK}.norm', nn.LayerNorm(10).double()),
    eps_is_a_tensor=of(f'{BLOCK}.norm', lambda norm: setattr(norm, 'eps', torch.tensor(0.1))),
    no_blocks=lambda m: (m.stages[1].blocks.__init__(), setattr(m.stages[1], 'drop_path_rates', ())),
    one_gamma_less=of(BLOCK, lambda block: setattr(block, 'gamma', None)),
    shared_ese=lambda m: setattr(m.stages[1].blocks[1], 'ese', m.stages[1].blocks[0].ese),
    hook_in_place=of('stages.0', lambda stage: stage.register_forward_hook(lambda m, args, out: out.add_(0.25))),
)  # fmt: skip


def between_and_penalised(change):
    def use(model, x):
        loss = loss_of(model(x)[:1])
        change(model)
        (grad,) = torch.autograd.grad(loss, x, create_graph=True)
        grad.square().sum().backward()
        return [grad.detach(), *state(model), x.grad]

    return use


def weight(name, change):
    return lambda model: change(model.get_parameter(name))


def replace_data(parameter):
    parameter.data = parameter.data * 0.5


def of_stage(change, look):
    """One stage by hand: its input lies in another order, or input or output are changed in place."""

    def use(model, x):
        leaf = change(model.stem(x).detach()).requires_grad_()
        given = leaf * 1 if look is not None else leaf
        out = model.stages[0](given)
        if look is not None:
            look(given, out)
        (grad,) = torch.autograd.grad(loss_of([out]), leaf)
        return [out.detach(), grad, [s for s, n in zip(out.stride(), out.shape) if n > 1]]

    return use


def old_hook(place):
    def use(model, x):
        seen = []
        model.get_submodule(place).register_backward_hook(lambda m, given, out: seen.append((len(given), len(out))))
        return [*step(model, x, lambda x: model(x)[-1:]), seen]

    return use


def batched_gradients(model, x):
    out = model(x)[0]
    vectors = torch.stack([torch.ones_like(out), out.detach()])
    return list(torch.autograd.grad(out, [x, model.stages[0].blocks[1].gamma], vectors, is_grads_batched=True))


USES = dict(
    **{
        f'{kind}_of_{name}': between(weight(name, change))
        for kind, change in dict(
            data_replaced=replace_data,
            data_changed=lambda p: p.data.mul_(0.5),
            changed=lambda p: p.detach().mul_(0.5),
        ).items()
        for name in (f'{BLOCK}.gamma', f'{BLOCK}.pwconv1.weight', f'{OTHER}.ese.fc.weight', f'{OTHER}.dwconv.bias')
    },
    bias_before_second_derivative=between_and_penalised(weight(f'{BLOCK}.pwconv1.bias', lambda p: p.detach().mul_(0))),
    pruned_between=between(of(f'{BLOCK}.pwconv1', lambda conv: prune.l1_unstructured(conv, 'weight', 0.4))),
    gamma_removed_between=between(of(BLOCK, lambda block: setattr(block, 'gamma', None))),
    ese_removed_between=between(of(OTHER, lambda block: setattr(block, 'ese', None))),
    eps_between=between_and_penalised(of(f'{BLOCK}.norm', lambda norm: setattr(norm, 'eps', 1.0))),
    activation_between=between_and_penalised(of(BLOCK, lambda block: setattr(block, 'act', nn.ReLU()))),
    contiguous=of_stage(torch.Tensor.contiguous, None),
    batch_last=of_stage(lambda x: x.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2), None),
    sliced=of_stage(lambda x: torch.cat([x, x], 1)[:, ::2], None),
    expanded=of_stage(lambda x: x[:1, :, :1].expand(3, -1, 5, -1), None),
    input_in_place=of_stage(lambda x: x, lambda given, out: given.mul_(2)),
    input_in_place_unseen=of_stage(lambda x: x, lambda given, out: given.data.mul_(2)),
    output_in_place=of_stage(lambda x: x, lambda given, out: out.mul_(2)),
    output_in_place_unseen=of_stage(lambda x: x, lambda given, out: out.data.mul_(2)),
    one_pixel_in_place=of_stage(lambda x: x[:1, :, :1, :1], lambda given, out: out.data.mul_(2)),
    relu_in_place=lambda model, x: step(model, x, lambda x: [F.relu_(model(x)[-1])]),
    old_hook=old_hook(''),
    old_hook_of_stage=old_hook('stages.1'),
    batched_gradients=batched_gradients,
    kernel_replaced=kernel_replaced('gelu'),
    stage_patched=function_patched('rdnet_stage', ops),
    functions=functions_of(rdnet),
    approximate_of_class=class_property(nn.GELU, 'approximate', lambda self: 'tanh'),
    gamma_of_class=class_property(rdnet.RDNetBlock, 'gamma', lambda self: self._parameters['gamma'] * 2),
    ese_of_class=class_property(rdnet.RDNetBlock, 'ese', lambda self: None),
    backward_in_inference_mode=backward_under(torch.inference_mode),
    mutation_allowed=under(torch.autograd.graph.allow_mutation_on_saved_tensors),
)


def recompute(model):
    for stage in model.modules():
        if isinstance(stage, RDNetStage):
            stage.memory_efficient = True
