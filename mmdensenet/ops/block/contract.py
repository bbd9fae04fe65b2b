"""The conditions under which anything but the reference computes. Whatever does not meet them is refused.

1. Nothing is active that has to see each operation (:func:`check_modes`).
2. Every module is of exactly the expected class, the class has the methods that it had when this file was imported, and
   the instance has neither hooks nor attributes that override methods (:func:`state_of`).
3. Every tensor has the expected shape, is a plain strided tensor with its own memory, on the input's device, and of a
   type that the steps support (:class:`Tensors`).

Each call checks them again: nothing reports an assignment to a module, to a class or to ``tensor.data``, so a result
cannot be cached.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from operator import attrgetter
from types import MethodType

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.modules import activation, batchnorm, conv, dropout, pooling
from torch.nn.modules import module as torch_module
from torch.utils._device import DeviceContext
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

#: types of features that the steps support
DTYPES = frozenset({torch.float32, torch.float64, torch.bfloat16, torch.float16})
_HALF = frozenset({torch.bfloat16, torch.float16})
_PLAIN_TYPES = frozenset({Tensor, nn.Parameter})
#: names of modules' tensors and parts; an entry of an instance's __dict__ would take precedence over them
_CONTENTS = {
    'weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked',
    'norm1', 'act', 'conv1', 'norm', 'conv', 'drop', 'pool', 'block', 'dwconv', 'pwconv1', 'pwconv2', 'fc', 'gate',
}  # fmt: skip
_METHODS = (
    '__call__', '_call_impl', '_wrapped_call_impl', '__getattr__', '__getattribute__', '__iter__',
    'forward', '_conv_forward', '_check_input_dim',
)  # fmt: skip
_FUNCTIONAL = (
    'conv2d', 'batch_norm', 'relu', 'avg_pool2d', 'max_pool2d', 'dropout',
    'layer_norm', 'gelu', 'hardsigmoid', 'adaptive_avg_pool2d',
)  # fmt: skip
#: kernels of torch that a library may replace, under the names that torch.library uses
_KERNELS = frozenset(
    f'aten/{name}/{key}'
    for name in (
        'conv2d', 'convolution', '_convolution', 'mkldnn_convolution', 'convolution_backward', 'cat', 'dropout',
        'native_dropout', 'batch_norm', '_batch_norm_impl_index', 'native_batch_norm', 'native_batch_norm_backward',
        'relu', 'relu_', 'clamp_min', 'threshold_backward', 'avg_pool2d', 'avg_pool2d_backward', 'max_pool2d',
        'max_pool2d_with_indices', 'layer_norm', 'native_layer_norm', 'native_layer_norm_backward', 'gelu', 'gelu_',
        'gelu_backward', 'hardsigmoid', 'hardsigmoid_backward', 'adaptive_avg_pool2d', '_adaptive_avg_pool2d',
    )
    for key in ('CPU', 'CUDA', 'Autograd', 'AutogradCPU', 'AutogradCUDA', 'CompositeImplicitAutograd',
                'CompositeExplicitAutograd')
)  # fmt: skip
_libraries = torch.library._impls
#: as long as there are as many, none of them has replaced a kernel
_libraries_at_import = len(_libraries) if _libraries.isdisjoint(_KERNELS) else -1
#: functions of torch that the functions above call
_TORCH_FUNCTIONS = ('relu', 'relu_', 'batch_norm', 'max_pool2d')

_reserved: dict[type, frozenset[str]] = {}
#: the live namespace of a module or class, a name in it, and its original value; None if it was already replaced
_originals: list[tuple[Mapping, str, object]] = []
#: the known classes and their bases: the live namespace, the names in it at import, and their number
_classes: dict[type, Mapping] = {}
_names: dict[type, frozenset[str]] = {}
_counts: list[int] = []
#: names that are read from instances; a property of the class would take precedence over them
_READ = _CONTENTS | {
    'training', 'eps', 'momentum', 'track_running_stats', 'process_group', 'groups', 'padding_mode', 'stride',
    'dilation', 'padding', 'kernel_size', 'ceil_mode', 'divisor_override', 'return_indices', 'p', 'drop_rate',
    'bottleneck_drop_rate', 'approximate', 'normalized_shape', 'output_size', 'in_channels', 'out_channels', 'ese',
    'gamma',
}  # fmt: skip
_CALLED = _READ | frozenset(_METHODS)
#: methods of tensors
_TENSOR_METHODS = frozenset(dir(torch._C.TensorBase))


class RefusedError(Exception):
    """Raised where the contract does not hold; the message is the reason why the reference computes."""


def known(cls: type) -> type:
    """Class decorator: a fused op may compute instances of exactly this class without calling them."""
    _reserved[cls] = frozenset(dir(cls)) | _CONTENTS
    for base in cls.__mro__[:-1]:
        _watch(base)
    return cls


def _watch(cls: type) -> None:
    if cls not in _classes:
        _classes[cls] = own = vars(cls)
        _names[cls] = frozenset(own)
        _counts.append(len(own))
        _originals.extend((own, name, own[name]) for name in _METHODS if name in own)


def is_known(cls: type) -> bool:
    return cls in _reserved


def _record_torchs_own() -> None:
    for cls in (nn.Conv2d, nn.BatchNorm2d, nn.SyncBatchNorm, nn.ReLU, nn.AvgPool2d, nn.MaxPool2d, nn.Dropout):
        known(cls)
    for cls in (nn.Sequential, nn.ModuleList, nn.LayerNorm, nn.GELU, nn.AdaptiveAvgPool2d, nn.Hardsigmoid):
        known(cls)
    _watch(Tensor)
    _originals.extend((vars(F), name, getattr(F, name)) for name in _FUNCTIONAL)
    _originals.extend((vars(torch), name, getattr(torch, name)) for name in ('cat', *_TORCH_FUNCTIONS))
    _originals.extend((vars(module), 'F', F) for module in (activation, batchnorm, conv, dropout, pooling))
    for i, (owner, name, value) in enumerate(_originals):
        # a function that was replaced before this import is not the original either
        home = getattr(value, '__globals__', {}).get('__name__', 'torch')
        if home.partition('.')[0] != 'torch':
            _originals[i] = owner, name, None


_record_torchs_own()


def watch(names: Mapping, *functions: str) -> None:
    """Refuse wherever one of these functions has been replaced; ``names`` is the ``vars`` of their module."""
    _originals.extend((names, function, names[function]) for function in functions)


def is_exporting() -> bool:
    """Whether the model is being traced, compiled or exported, which works only with the reference's modules."""
    return torch.jit.is_tracing() or torch.jit.is_scripting() or torch.compiler.is_compiling()


def are_counting() -> bool:
    """Whether dispatch modes are active, all with ``counts_fused = True``; any other mode is refused."""
    if not (torch._C._len_torch_dispatch_stack() or torch._ops._len_torch_dispatch_stack_pre_dispatch()):
        return False
    modes = _get_current_dispatch_mode_stack()
    if not modes or not all(getattr(mode, 'counts_fused', False) for mode in modes):
        raise RefusedError('a dispatch mode expects to see each operation')
    return True


def check_watchers() -> bool:
    """Refuse where something is active that has to see each operation of a forward or of a backward pass.

    Returns:
        Whether the active modes only need shapes, as :func:`are_counting` returns.
    """
    if torch._C._are_functorch_transforms_active():
        raise RefusedError('torch.func transforms cannot see into it')
    if forward_ad._current_level >= 0:
        raise RefusedError('forward-mode differentiation is active')
    return are_counting()


def is_plain(gradient: Tensor, counting: bool) -> bool:
    """Whether the steps can read a gradient: a strided tensor with memory, or on 'meta' where shapes are counted."""
    readable = type(gradient) is Tensor and gradient.layout is torch.strided
    return readable and ((counting and gradient.is_meta) or gradient.data_ptr() != 0 or gradient.numel() == 0)


def check_modes(x: Tensor) -> bool:
    """Refuse where something is active that has to see each operation or each module, or where x is no plain tensor.

    Returns:
        Whether x may be on torch's 'meta' device, without memory, because the active modes only need shapes.
    """
    if type(x) not in _PLAIN_TYPES:
        raise RefusedError(f'the input is {type(x).__name__}, not a plain tensor')
    if is_exporting():
        raise RefusedError('the model is traced or exported')
    counting = check_watchers()
    for i in range(torch._C._len_torch_function_stack()):
        mode = torch._C._get_function_stack_at(i)
        # torch.set_default_device and torch.device contexts are such modes too
        if type(mode) is not DeviceContext or mode.device.type != x.device.type:
            raise RefusedError('a __torch_function__ mode expects to see each operation')
    if torch_module._has_any_global_hook():
        raise RefusedError('there are hooks on all modules')
    for owner, name, original in _originals:
        if owner.get(name) is not original:
            raise RefusedError(f'{name} of torch or of a class has been replaced')
    if len(_libraries) != _libraries_at_import and not _libraries.isdisjoint(_KERNELS):
        raise RefusedError('a library has replaced a kernel of torch')
    if list(map(len, _classes.values())) != _counts:
        for cls, own in _classes.items():
            # other names may be added, if they do not override what is called or read; a tool that has replaced an
            # inherited method for a while may have put that itself into the class
            added = (own.keys() - _names[cls]) & (_TENSOR_METHODS if cls is Tensor else _CALLED)
            if any(own[name] is not getattr(super(cls, cls), name, own) for name in added):
                raise RefusedError(f'{cls.__name__} has other attributes')
    return counting


def state_of(module: nn.Module, cls: type, what: str) -> dict:
    """The ``__dict__`` of a module that computes exactly what its class defines."""
    if type(module) is not cls or cls not in _reserved:
        raise RefusedError(f'{what} is {type(module).__name__}, not a plain {cls.__name__}')
    own = module.__dict__
    if not _reserved[cls].isdisjoint(own):
        names = sorted(name for name in own.keys() & _reserved[cls] if not _is_put_back(module, cls, name))
        if names:
            raise RefusedError(f'{what} has {", ".join(names)} of its own')
    if own['_forward_hooks'] or own['_forward_pre_hooks'] or own['_backward_hooks'] or own['_backward_pre_hooks']:
        raise RefusedError(f'there are hooks on {what}')
    return own


def _is_put_back(module: nn.Module, cls: type, name: str) -> bool:
    """Whether an instance has what it would have without it: tools that replaced a method for a while leave that."""
    value, of_class = module.__dict__[name], getattr(cls, name, module)
    if value is None:  # as where torch.compile was
        return of_class is None
    return type(value) is MethodType and value.__self__ is module and value.__func__ is of_class


class Tensors:
    """The tensors of one block or stem, their conditions, and whether one of them needs a gradient.

    They are collected first; :meth:`check` then checks all of them, in half of the time of single checks.

    Args:
        x: the input, (N, C, H, W).
        counting: x may be on 'meta', without memory.
        cast: autocast casts x too, so x may have another type than autocast's.
    """

    def __init__(self, x: Tensor, counting: bool, cast: bool = False):
        if x.layout is not torch.strided or x.dim() != 4:
            raise RefusedError('the input is no strided tensor of four dimensions')
        self.device, self.counting, self.requires_grad = x.get_device(), counting and x.is_meta, False
        self.dtype = x.dtype
        if self.dtype not in DTYPES:
            raise RefusedError(f'the features are {str(self.dtype).removeprefix("torch.")}')
        if x.numel() == 0:
            raise RefusedError('there are no values')
        self.weight_dtypes: tuple[torch.dtype, ...] = (self.dtype,)
        if self.dtype is not torch.float64 and autocast_enabled(x.device.type):
            if not cast and self.dtype is not torch.get_autocast_dtype(x.device.type):
                raise RefusedError('the features are not of the type that autocast computes in')
            self.weight_dtypes = torch.float32, torch.bfloat16, torch.float16
        #: tensors of any shape; convolutions' weights and norms' tensors, with the shapes that they must have
        self.used: list[Tensor] = [x]
        self.weights: list[Tensor] = []
        self.weight_shapes: list[tuple[int, ...]] = []
        self.norms: list[Tensor] = []
        self.norm_shapes: list[tuple[int, ...]] = []
        #: counters of batches of norms in training
        self.counters: list[Tensor] = []

    def weight(self, weight: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Add a convolution's weight."""
        self.weights.append(weight)
        self.weight_shapes.append(shape)
        return weight

    def norm(self, tensors: tuple[Tensor, Tensor, Tensor, Tensor], channels: int) -> None:
        """Add a norm's weight, bias, running mean and running variance."""
        self.norms += tensors
        self.norm_shapes += ((channels,),) * 4

    def written(self, *buffers: Tensor) -> None:
        """Check the running statistics of a norm in training, and add its counter, the last buffer."""
        for buffer in buffers:
            if type(buffer) not in _PLAIN_TYPES or not buffer.is_contiguous() or buffer.requires_grad:
                raise RefusedError('running statistics are no plain tensors')
        self.used.append(buffers[-1])
        self.counters.append(buffers[-1])

    def check(self) -> None:
        """Refuse where one of the tensors does not meet its conditions."""
        every = self.used + self.weights + self.norms
        if not _PLAIN_TYPES.issuperset(map(type, every)) or set(map(Tensor.get_device, every)) != {self.device}:
            raise RefusedError('a tensor is no plain one on the device of the features')
        # without memory, data_ptr is 0 or raises: meta, sparse, opaque and wrapped tensors, freed storage
        with_memory = [tensor for tensor in every if not tensor.is_meta] if self.counting else every
        if not all(map(Tensor.data_ptr, with_memory)) or any(map(Tensor.is_neg, with_memory)):
            raise RefusedError('a tensor has no memory of its own')
        if [weight.shape for weight in self.weights] != self.weight_shapes:
            raise RefusedError('the weight of a convolution has not the shape that belongs in its place')
        if [tensor.shape for tensor in self.norms] != self.norm_shapes:
            raise RefusedError('a norm is for another number of channels than there are')
        if not set(self.weight_dtypes).issuperset(map(_dtype, self.weights)):
            raise RefusedError('weights and features are of different types')
        dtypes = set(map(_dtype, self.norms))
        if len(dtypes) > 1 or not dtypes <= {self.dtype, *((torch.float32,) if self.dtype in _HALF else ())}:
            raise RefusedError('norms and features are of different types')
        if any(map(_requires_grad, self.norms[2::4])) or any(map(_requires_grad, self.norms[3::4])):
            raise RefusedError('running statistics carry gradients')
        if self.counters and not self.counting:
            self._check_overlap()
        self.requires_grad = any(map(_requires_grad, every))

    def _check_overlap(self) -> None:
        """Refuse running statistics that overlap another tensor in memory: the steps write them later than the norms
        would.

        Norms may share a whole tensor in the same role.
        """
        roles = {(i % 4, id(tensor)): tensor for i, tensor in enumerate(self.norms)}
        roles |= {(4, id(tensor)): tensor for tensor in self.counters}
        roles |= {(5, id(tensor)): tensor for tensor in self.weights}
        spans = [(tensor.data_ptr(), tensor.nbytes, role in (2, 3, 4)) for (role, _), tensor in roles.items()]
        end = end_of_written = 0
        for start, size, written in sorted(spans):
            if start < (end if written else end_of_written):
                raise RefusedError('running statistics share memory with other tensors')
            end = max(end, start + size)
            if written:
                end_of_written = end

    def needs_graph(self, training: bool) -> bool:
        """Whether the result of the checked tensors needs a gradient."""
        graph = self.requires_grad and torch.is_grad_enabled()
        changes_or_saves = (graph or training) and not torch.is_inference_mode_enabled()
        if changes_or_saves and any(map(Tensor.is_inference, self.used + self.weights + self.norms)):
            raise RefusedError('a tensor was made in inference mode')
        return graph


_dtype, _requires_grad = attrgetter('dtype'), attrgetter('requires_grad')


def autocast_enabled(device: str) -> bool:
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


def without_autocast(device: torch.device) -> AbstractContextManager:
    """A context that switches autocast off for this kind of device if it is on."""
    return torch.autocast(device.type, enabled=False) if autocast_enabled(device.type) else nullcontext()
