"""What people do with a model: inputs, and uses, which get the model and images and give what is to be compared."""

import copy
import io
import pickle
from contextlib import contextmanager

import torch
import torch.nn.functional as F
import torch.utils.checkpoint
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.modules import module as torch_module
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint, checkpoint_sequential


def weights_of(out: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(out.numel())
    return torch.randn(out.shape, generator=generator, dtype=torch.float64).to(out.dtype)


def loss_of(outs) -> Tensor:
    return sum((out * weights_of(out)).sum() for out in outs if out.requires_grad)


def step(model: nn.Module, x: Tensor, call=None) -> list:
    """Outputs, the gradients of the input and all parameters, and the buffers after a step."""
    outs = (call or model)(x)
    results = [out.detach().clone() if isinstance(out, Tensor) else out for out in outs]
    loss = loss_of(outs)
    if isinstance(loss, Tensor):
        loss.backward()
    return results + state(model) + ([x.grad] if isinstance(x, Tensor) and x.is_leaf else [])


def state(model: nn.Module) -> list:
    return [p.grad for p in model.parameters()] + [b.clone() for b in model.buffers()]


class Counting(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.convolutions = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.convolutions += 'convolution' in str(func)
        return func(*args, **(kwargs or {}))


class Functions(TorchFunctionMode):
    def __init__(self):
        super().__init__()
        self.norms = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.norms += getattr(func, '__name__', '') == 'batch_norm'
        return func(*args, **(kwargs or {}))


class Sub(Tensor):
    pass


@contextmanager
def attribute(owner, name, value):
    old = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, old)


def under(context):
    def use(model, x):
        with context() as entered:
            results = step(model, x)
        return [*results, *(getattr(entered, name) for name in ('convolutions', 'norms') if hasattr(entered, name))]

    return use


def forward_only(context):
    def use(model, x):
        with context():
            outs = list(model(x.detach()))
        return [out.clone() for out in outs] + state(model)

    return use


def class_patched(cls, name='forward'):
    old = getattr(cls, name)

    def patched(self, *args):
        out = old(self, *args)
        return out * 0.5 if isinstance(out, Tensor) else out

    return under(lambda: attribute(cls, name, patched))


def function_patched(name, owner=F):
    old = getattr(owner, name)
    return under(lambda: attribute(owner, name, lambda *args, **kwargs: old(*args, **kwargs) * 0.5))


def method_added(cls, name):
    """To a class that had it from another one."""
    old = getattr(cls, name)

    @contextmanager
    def added():
        setattr(cls, name, lambda self, *args, **kwargs: old(self, *args, **kwargs) * 0.5)
        try:
            yield
        finally:
            delattr(cls, name)

    return under(added)


def method_of_tensors(name):
    """As profilers replace them, to see each call."""
    old = getattr(Tensor, name)

    @contextmanager
    def counted():
        calls = []
        setattr(Tensor, name, lambda self, *args, **kwargs: (calls.append(0), old(self, *args, **kwargs))[1])
        try:
            yield
        finally:
            delattr(Tensor, name)
            calls_of.append(len(calls))

    calls_of = []

    def use(model, x):
        results = under(counted)(model, x)
        return [*results, calls_of.pop()]

    return use


def class_property(cls, name, value):
    """A property of the class, which comes before what its instances have."""

    @contextmanager
    def with_property():
        setattr(cls, name, property(value, lambda *_: None))
        try:
            yield
        finally:
            delattr(cls, name)

    return under(with_property)


def with_transition(model, x):
    """Block and transition by hand, with dropout, whose draws depend on the order of the maps in memory."""
    for layer in [layer for stage in model.stages for layer in stage.block]:
        layer.drop_rate = 0.3

    def call(x):
        outs = [model.stem(x)]
        for stage, transition in zip(model.stages, model.transitions):
            outs += stage.with_transition(outs[-1], transition, keep_features=True)
        return outs[1:]

    return step(model, x, call)


def flops(model, x):
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        model(x)
    return [counter.get_total_flops()]


def traced(trace):
    def use(model, x):
        with torch.no_grad():
            return list(trace(model, x)(x.detach() * 0.5))

    return use


def make_fx(mode='real', pre_dispatch=False):
    from torch.fx.experimental.proxy_tensor import make_fx

    return traced(lambda m, x: make_fx(lambda x: m(x), tracing_mode=mode, pre_dispatch=pre_dispatch)(x.detach()))


def feature_extractor(model, x):
    from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

    nodes = get_graph_node_names(model)[0]
    return list(create_feature_extractor(model, [nodes[-1], nodes[len(nodes) // 2]])(x).values())


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


def weight_changed_between(names):
    def use(model, x):
        loss = loss_of(model(x))
        with torch.no_grad():
            for name in names:
                model.get_parameter(name).mul_(0.5)
        loss.backward()
        return [*state(model), x.grad]

    return use


def statistics_changed_between(names, change=lambda buffer: buffer.mul_(0.5)):
    def use(model, x):
        loss = loss_of(model(x))
        for name in names:
            change(model.get_buffer(name))
        loss.backward()
        return [*state(model), x.grad]

    return use


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


def copied(copying):
    return lambda model, x: step(copying(model), x)


def _through_file(model):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def accumulated(model, x):
    for _ in range(2):
        loss_of(model(x)).backward()
    return [*state(model), x.grad]


def viewed(model, x):
    return [out.view(len(out), -1) for out in model(x)]


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


def optimised_input(model, x):
    return step(model, nn.Parameter(x.detach().clone()))


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
    """With dropout everywhere."""
    for stage in model.stages:
        for layer in stage.block:
            layer.drop_rate, layer.bottleneck_drop_rate = 0.3, 0.2
    torch.manual_seed(3)
    return [*step(model, x), torch.rand(3)]


def default_dtype(model, x):
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        return step(model, x)
    finally:
        torch.set_default_dtype(before)


def anomaly(model, x):
    with torch.autograd.detect_anomaly(check_nan=True):
        return step(model, x)


def deterministic(model, x):
    torch.use_deterministic_algorithms(True)
    try:
        return step(model, x)
    finally:
        torch.use_deterministic_algorithms(False)


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
    no_grad=forward_only(torch.no_grad),
    inference_mode=forward_only(torch.inference_mode),
    enable_grad=forward_only(torch.enable_grad),
    nested_autocast=nested_autocast,
    deterministic=deterministic,
    anomaly=anomaly,
    default_dtype=default_dtype,
    default_device=under(lambda: torch.device('cpu')),
    dispatch_mode=under(Counting),
    function_mode=under(Functions),
    flops=flops,
    fx=traced(lambda m, x: torch.fx.symbolic_trace(m)),
    feature_extractor=feature_extractor,
    make_fx=make_fx(),
    make_fx_fake=make_fx('fake'),
    make_fx_pre_dispatch=make_fx(pre_dispatch=True),
    jit_trace=traced(lambda m, x: torch.jit.trace(m, x.detach(), check_trace=False)),
    aot=aot,
    fake=fake,
    fake_outside=fake_outside,
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
    mmengine_checkpointing=mmengine_checkpointing,
    saved_tensors_hooks=saved_in_half,
    save_on_cpu=under(torch.autograd.graph.save_on_cpu),
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
    biases_changed_between=weight_changed_between(['stages.0.block.0.norm1.bias', 'transitions.0.norm.bias']),
    weights_changed_between=weight_changed_between(['stages.0.block.0.conv2.weight']),
    gammas_changed_between=weight_changed_between(['stages.0.block.1.norm2.weight']),
    means_changed_between=statistics_changed_between(['stages.0.block.0.norm1.running_mean']),
    variances_changed_between=statistics_changed_between(['stages.0.block.1.norm2.running_var']),
    transition_changed_between=statistics_changed_between(['transitions.0.norm.running_var']),
    stem_changed_between=statistics_changed_between(['stem.1.running_mean']),
    counters_changed_between=statistics_changed_between(['stages.0.block.1.norm2.num_batches_tracked'], Tensor.zero_),
    statistics_changed_unseen=statistics_changed_between(
        [f'stages.0.block.0.norm1.running_{kind}' for kind in ('mean', 'var')], lambda buffer: buffer.data.mul_(1)),
    backward_under_dispatch_mode=backward_under(Counting),
    backward_under_function_mode=backward_under(Functions),
    backward_on_another_device=backward_under(lambda: torch.device('meta')),
    evaluation_then_training=evaluation_then_training,
    deepcopy=copied(copy.deepcopy),
    pickled=copied(lambda m: pickle.loads(pickle.dumps(m))),
    saved=copied(_through_file),
    averaged=averaged,
    trained=trained,
    optimised_input=optimised_input,
    viewed=viewed,
    seeded=seeded,
    **{f'{kind}_patched': class_patched(getattr(nn, kind)) for kind in (
        'Conv2d', 'BatchNorm2d', 'ReLU', 'AvgPool2d', 'MaxPool2d', 'Sequential')},
    base_norm_patched=class_patched(nn.modules.batchnorm._BatchNorm),
    conv_forward_patched=class_patched(nn.Conv2d, '_conv_forward'),
    module_call_patched=class_patched(nn.Module, '__call__'),
    conv_call_patched=class_patched(nn.Conv2d, '__call__'),
    call_impl_patched=class_patched(nn.Module, '_call_impl'),
    **{f'torch_{name}_patched': function_patched(name, torch) for name in ('batch_norm', 'relu', 'max_pool2d')},
    **{f'tensor_{name}_patched': method_of_tensors(name) for name in ('contiguous', 'add')},
    call_of_class=method_added(nn.Sequential, '_call_impl'),
    eps_of_class=class_property(nn.BatchNorm2d, 'eps', lambda self: 0.5),
    weight_of_class=class_property(nn.Conv2d, 'weight', lambda self: self._parameters['weight'] * 2),
    with_transition=with_transition,
    **{f'{name}_patched': function_patched(name) for name in ('conv2d', 'batch_norm', 'relu', 'avg_pool2d')},
    global_forward_hook=all_hooks(torch_module.register_module_forward_hook),
    global_pre_hook=all_hooks(torch_module.register_module_forward_pre_hook),
    global_backward_hook=all_hooks(torch_module.register_module_full_backward_hook),
    global_backward_pre_hook=all_hooks(torch_module.register_module_full_backward_pre_hook),
)  # fmt: skip


def _inference_images(x):
    with torch.inference_mode():
        return x.clone()


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
    inference=_inference_images,
    nan=lambda x: torch.cat([x[:1], torch.full_like(x[1:], float('nan'))]),
    infinite=lambda x: torch.cat([x[:1], torch.full_like(x[1:], float('inf'))]),
    huge=lambda x: x * 1e30,
    array=lambda x: x.numpy(),
    list=lambda x: [x],
    nothing=lambda x: None,
)
