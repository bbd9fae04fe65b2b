"""Counts multiply-adds and live bytes of operations on torch's 'meta' device, whose tensors have no data."""

import weakref

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry


class Meter(TorchDispatchMode):
    """A context that counts below autograd, so that it includes backward.

    ``multiply_adds`` are those of convolutions and matrix products, by torch's formulas. ``live`` is the size in bytes
    of the storages that were allocated inside the context and are alive, ``peak`` its maximum. Both exclude memory that
    a library allocates inside an operation.
    """

    #: it needs only shapes, so that the fused blocks may run on 'meta'
    counts_fused = True

    def __init__(self):
        super().__init__()
        self.multiply_adds = self.live = self.peak = 0
        self._storages: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        flops = flop_registry.get(func._overloadpacket)
        if flops is not None:
            self.multiply_adds += flops(*args, **kwargs, out_val=out) // 2
        given = {_key(tensor) for tensor in tree_leaves((args, kwargs)) if isinstance(tensor, Tensor)}
        for tensor in tree_leaves(out):
            # a view of an existing tensor, such as a parameter, is not new
            if isinstance(tensor, Tensor) and _key(tensor) not in given | self._storages:
                self._add(tensor)
        return out

    def _add(self, tensor: Tensor) -> None:
        storage, key = tensor.untyped_storage(), _key(tensor)
        size = storage.nbytes()
        self._storages.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._drop, key, size).atexit = False

    def _drop(self, key: int, size: int) -> None:
        self._storages.discard(key)
        self.live -= size


def _key(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata  # data_ptr is 0 for all of them
