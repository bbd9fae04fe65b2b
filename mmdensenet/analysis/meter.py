"""Counting what runs on tensors without data, torch's 'meta' device: multiply-adds, and bytes that are alive."""

import weakref

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry


class Meter(TorchDispatchMode):
    """Counts while it is entered, below autograd, so backward is counted too.

    ``multiply_adds`` are those of convolutions and matrix products, by torch's own formulas. ``live`` is the sum of the
    sizes of the storages that were made since and are still there, in bytes, ``peak`` the highest it has been. What was
    there before is not in them; what a library takes inside an operation is not, either.
    """

    #: what it counts are shapes, which the fused blocks have on 'meta' too
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
            # a view of what was there before, such as a parameter, is not new
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
    return tensor.untyped_storage()._cdata  # data_ptr is 0 of all of them
