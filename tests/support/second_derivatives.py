"""Uses of a model that differentiate a gradient again; each gets model and images and gives what is to be compared."""

import torch
from support.model_steps import state, weights_of
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def loss_of(outs) -> Tensor:
    return sum((out * weights_of(out)).square().sum() for out in outs)


def input_penalty(model: nn.Module, x: Tensor, call=None) -> list:
    """The usual gradient penalty, beside the loss itself."""
    loss = loss_of((call or model)(x))
    (grad,) = torch.autograd.grad(loss, x, create_graph=True)
    (loss + grad.square().sum()).backward()
    return [grad.detach(), *state(model), x.grad]


def weight_penalty(model, x):
    """A penalty on the gradients of the parameters; the input may need none."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    grads = torch.autograd.grad(loss_of(model(x)), parameters, create_graph=True, allow_unused=True)
    grads = [grad for grad in grads if grad is not None]
    sum((grad * weights_of(grad)).sum() for grad in grads).backward()
    return [*(grad.detach() for grad in grads), *state(model), x.grad]


def one_output(model, x):
    """The penalty on the first output, the loss on the second."""
    first, *others = model(x)
    (grad,) = torch.autograd.grad((first * weights_of(first)).sum(), x, create_graph=True)
    ((grad * weights_of(grad)).sum() + loss_of(others)).backward()
    return [grad.detach(), *state(model), x.grad]


def third(model, x):
    (first,) = torch.autograd.grad(loss_of(model(x)), x, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), x, create_graph=True)
    second.square().sum().backward()
    return [first.detach(), second.detach(), *state(model), x.grad]


def hessian_vector_product(model, x):
    return list(torch.autograd.functional.hvp(lambda x: loss_of(model(x)), x.detach(), weights_of(x)))


def batched_jacobian(model, x):
    return [
        torch.autograd.functional.jacobian(
            lambda x: model(x)[0].mean((2, 3)), x.detach(), vectorize=True, create_graph=True
        )
    ]


def one_step_ahead(model, x):
    """The loss behind a step of gradient descent, differentiated through it, as MAML does."""
    parameters = dict(model.named_parameters())
    loss = loss_of(torch.func.functional_call(model, parameters, (x,)))
    grads = torch.autograd.grad(loss, list(parameters.values()), create_graph=True, allow_unused=True)
    stepped = {n: p if g is None else p - 1e-5 * g for (n, p), g in zip(parameters.items(), grads)}
    loss_of(torch.func.functional_call(model, stepped, (x * 0.5,))).backward()
    return [*state(model), x.grad]


def checkpointed(model, x):
    return input_penalty(model, x, lambda x: checkpoint(model, x, use_reentrant=False))


def memory_efficient(model, x):
    for layer in (layer for stage in model.stages for layer in stage.block):
        layer.memory_efficient = True
    return weight_penalty(model, x)


def dropped(model, x):
    for layer in (layer for stage in model.stages for layer in stage.block):
        layer.drop_rate, layer.bottleneck_drop_rate = 0.3, 0.2
    torch.manual_seed(3)
    return [*weight_penalty(model, x), torch.rand(3)]


def hooked(model, x):
    """Each hook counts once."""
    for parameter in model.parameters():
        parameter.register_hook(lambda grad: grad * 0.5)
    return weight_penalty(model, x)


def partly_frozen(model, x):
    for parameter in list(model.parameters())[::3]:
        parameter.requires_grad_(False)
    return weight_penalty(model, x.detach())


def _changed(between: bool, part: str):
    def use(model, x):
        loss = loss_of(model(x))
        if not between:
            (grad,) = torch.autograd.grad(loss, x, create_graph=True)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if part in name:
                    parameter.mul_(0.5)
        if between:
            (grad,) = torch.autograd.grad(loss, x, create_graph=True)
        grad.square().sum().backward()
        return [grad.detach(), *state(model), x.grad]

    return use


SECOND_DERIVATIVES = dict(
    input_penalty=input_penalty,
    weight_penalty=weight_penalty,
    one_output=one_output,
    third=third,
    hessian_vector_product=hessian_vector_product,
    batched_jacobian=batched_jacobian,
    one_step_ahead=one_step_ahead,
    checkpointed=checkpointed,
    memory_efficient=memory_efficient,
    dropped=dropped,
    hooked=hooked,
    partly_frozen=partly_frozen,
    biases_changed_before=_changed(True, 'norm1.bias'),
    weights_changed_before=_changed(True, 'conv2.weight'),
    weights_changed_after=_changed(False, 'conv1.weight'),
)
