"""Uses that see the operations or parts of a model: modes, hooks, patches, tracers."""

from unittest import mock

import torch
import torch.nn.functional as F
import torch.utils.checkpoint
from support.model_steps import state, step
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode


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

    return under(lambda: mock.patch.object(cls, name, patched))


def function_patched(name, owner=F):
    """A function of a module, or a method of a class, which may have inherited it."""
    old = getattr(owner, name)
    return under(lambda: mock.patch.object(owner, name, lambda *args, **kwargs: old(*args, **kwargs) * 0.5))


def method_of_tensors(name):
    """Replace a method of tensors, as profilers do to count calls."""
    old = getattr(Tensor, name)

    def use(model, x):
        calls = []
        counted = lambda *args, **kwargs: (calls.append(0), old(*args, **kwargs))[1]  # noqa: E731
        results = under(lambda: mock.patch.object(Tensor, name, counted))(model, x)
        return [*results, len(calls)]

    return use


def class_property(cls, name, value):
    """A property of the class, which comes before what its instances have."""
    return under(lambda: mock.patch.object(cls, name, property(value, lambda *_: None), create=True))


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


USES = dict(
    no_grad=forward_only(torch.no_grad),
    inference_mode=forward_only(torch.inference_mode),
    enable_grad=forward_only(torch.enable_grad),
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
    save_on_cpu=under(torch.autograd.graph.save_on_cpu),
    **{
        f'{kind}_patched': class_patched(getattr(nn, kind))
        for kind in ('Conv2d', 'BatchNorm2d', 'ReLU', 'AvgPool2d', 'MaxPool2d', 'Sequential')
    },
    base_norm_patched=class_patched(nn.modules.batchnorm._BatchNorm),
    conv_forward_patched=class_patched(nn.Conv2d, '_conv_forward'),
    module_call_patched=class_patched(nn.Module, '__call__'),
    conv_call_patched=class_patched(nn.Conv2d, '__call__'),
    call_impl_patched=class_patched(nn.Module, '_call_impl'),
    **{f'torch_{name}_patched': function_patched(name, torch) for name in ('batch_norm', 'relu', 'max_pool2d')},
    **{f'tensor_{name}_patched': method_of_tensors(name) for name in ('contiguous', 'add')},
    call_of_class=function_patched('_call_impl', nn.Sequential),
    eps_of_class=class_property(nn.BatchNorm2d, 'eps', lambda self: 0.5),
    weight_of_class=class_property(nn.Conv2d, 'weight', lambda self: self._parameters['weight'] * 2),
    with_transition=with_transition,
    **{f'{name}_patched': function_patched(name) for name in ('conv2d', 'batch_norm', 'relu', 'avg_pool2d')},
)
