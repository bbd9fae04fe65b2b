"""Uses that take other derivatives than a step: forward mode, torch.func, batches of gradients, checkpointing."""

import copy

import torch
import torch.utils.checkpoint
from support.model_steps import loss_of, state, step, weights_of
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.utils.checkpoint import checkpoint, checkpoint_sequential


def dual(model, x):
    with forward_ad.dual_level():
        outs = [forward_ad.unpack_dual(out) for out in model(forward_ad.make_dual(x.detach(), weights_of(x)))]
    return [value for out in outs for value in out]


def dual_level_alone(model, x):
    with forward_ad.dual_level():
        return step(model, x)


def dual_weight(model, x):
    weight = model.stages[0].block[0].conv1.weight.detach()
    del model.stages[0].block[0].conv1.weight
    with forward_ad.dual_level():
        model.stages[0].block[0].conv1.weight = forward_ad.make_dual(weight, torch.ones_like(weight))
        return [value for out in model(x.detach()) for value in forward_ad.unpack_dual(out)]


def of_func(transform):
    def use(model, x):
        model.requires_grad_(False)
        if model.training:
            for norm in model.modules():  # functorch refuses statistics that are changed in place
                norm.eval() if isinstance(norm, nn.BatchNorm2d) else None
        return transform(lambda x: model(x)[0].square().sum(), x.detach())

    return use


def functional_call(model, x):
    tensors = {name: (p.detach() * 0.9).requires_grad_() for name, p in model.named_parameters()}
    tensors |= {name: b.clone() for name, b in model.named_buffers()}
    outs = torch.func.functional_call(model, tensors, (x,))
    loss_of(outs).backward()
    return [out.detach() for out in outs] + [t.grad for t in tensors.values()] + list(tensors.values()) + state(model)


def ensemble(model, x):
    params, buffers = torch.func.stack_module_state([model.eval(), copy.deepcopy(model)])
    call = lambda p, b: torch.func.functional_call(model, (p, b), (x.detach(),))[0]  # noqa: E731
    return [torch.vmap(call)({k: v.detach() for k, v in params.items()}, buffers)]


def batched_gradients(model, x):
    out = model(x)[0]
    vectors = torch.stack([weights_of(out), torch.ones_like(out)])
    return list(torch.autograd.grad(out, [x, *model.stages.parameters()], vectors, is_grads_batched=True,
                                    allow_unused=True))  # fmt: skip


def gradient_as(change):
    """Given to backward as a tensor of another kind."""

    def use(model, x):
        out = model(x)[0]
        torch.autograd.backward(out, change(weights_of(out)))
        return [*state(model), x.grad]

    return use


def gradients_by_vmap(model, x):
    """Forward outside of it, as torch.func's tutorial on Jacobians has it."""
    out = model(x)[0]
    vectors = torch.stack([weights_of(out), torch.ones_like(out)])
    return [torch.vmap(lambda v: torch.autograd.grad(out, x, v, retain_graph=True)[0])(vectors)]


def dual_gradient(model, x):
    out = model(x)[0]
    with forward_ad.dual_level():
        grad = forward_ad.make_dual(weights_of(out), torch.ones_like(out))
        return list(forward_ad.unpack_dual(torch.autograd.grad(out, x, grad)[0]))


def vectorised_jacobian(model, x):
    call = lambda x: model(x)[0].mean((2, 3))  # noqa: E731
    return [torch.autograd.functional.jacobian(call, x.detach(), vectorize=True)]


def jacobian_forward_mode(model, x):
    call = lambda x: model.eval()(x)[0].sum()  # noqa: E731
    return [
        torch.autograd.functional.jacobian(call, x.detach()[:1, :, :8, :8], strategy='forward-mode', vectorize=True)
    ]


def checkpointed(reentrant, part=None):
    def use(model, x):
        if part is None:
            return step(model, x, lambda x: checkpoint(model, x, use_reentrant=reentrant))
        module = model.get_submodule(part)
        old = module.forward
        module.forward = lambda *args: checkpoint(old, *args, use_reentrant=reentrant)
        return step(model, x)

    return use


def selective_checkpoint(model, x):
    context = lambda: torch.utils.checkpoint.create_selective_checkpoint_contexts(  # noqa: E731
        [torch.ops.aten.convolution.default]
    )
    return step(model, x, lambda x: checkpoint(model, x, use_reentrant=False, context_fn=context))


def checkpoint_wrapper(model, x):
    from torch.distributed.algorithms._checkpoint import checkpoint_wrapper as wrapper

    wrapper.apply_activation_checkpointing(model, check_fn=lambda m: type(m).__name__ == 'DenseBlock')
    return step(model, x)


def in_sequence(model, x):
    parts = nn.Sequential(model.stem, model.stages[0], model.transitions[0], model.stages[1])
    return step(model, x, lambda x: [checkpoint_sequential(parts, 2, x, use_reentrant=False)])


USES = dict(
    dual=dual,
    dual_level_alone=dual_level_alone,
    dual_weight=dual_weight,
    func_grad=of_func(lambda f, x: [torch.func.grad(f)(x)]),
    func_jvp=of_func(lambda f, x: list(torch.func.jvp(f, (x,), (torch.ones_like(x),)))),
    func_linearize=of_func(lambda f, x: [torch.func.linearize(f, x)[1](torch.ones_like(x))]),
    func_vjp=of_func(lambda f, x: list(torch.func.vjp(f, x)[1](torch.ones((), dtype=x.dtype)))),
    vmap=of_func(lambda f, x: [torch.vmap(f)(x.unsqueeze(1))]),
    functional_call=functional_call,
    ensemble=ensemble,
    batched_gradients=batched_gradients,
    vectorised_jacobian=vectorised_jacobian,
    gradients_by_vmap=gradients_by_vmap,
    dual_gradient=dual_gradient,
    negated_gradient=gradient_as(torch._neg_view),
    sparse_gradient=gradient_as(Tensor.to_sparse),
    zero_gradient=gradient_as(lambda grad: torch._efficientzerotensor(grad.shape, dtype=grad.dtype)),
    meta_gradient=gradient_as(lambda grad: grad.to('meta')),
    jacobian_forward_mode=jacobian_forward_mode,
    checkpoint=checkpointed(False),
    checkpoint_reentrant=checkpointed(True),
    checkpoint_stage=checkpointed(False, 'stages.0'),
    checkpoint_stage_reentrant=checkpointed(True, 'stages.1'),
    checkpoint_stem=checkpointed(False, 'stem'),
    selective_checkpoint=selective_checkpoint,
    checkpoint_wrapper=checkpoint_wrapper,
    checkpoint_sequential=in_sequence,
)
