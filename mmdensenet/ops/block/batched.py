"""Backward passes of many gradients at once, as ``torch.autograd.grad(is_grads_batched=True)`` asks for them."""

from collections.abc import Callable

import torch
from torch import Tensor


def each_gradient(backward: Callable[..., tuple], *grads: Tensor | None) -> tuple:
    """``backward(*grads)``, called once per pass where torch batches the gradients of many passes in one tensor.

    vmap cannot batch the fused ops' steps: they write into memory that is allocated for one pass.
    """
    batched = [grad is not None and torch._C._functorch.is_legacy_batchedtensor(grad) for grad in grads]
    if not any(batched):
        return backward(*grads)
    level = torch._C._vmapmode_increment_nesting() - 1
    torch._C._vmapmode_decrement_nesting()
    passes = [torch._remove_batch_dim(grad, level, 1, 0).unbind() if b else None for grad, b in zip(grads, batched)]
    count = max(len(each) for each in passes if each is not None)
    unbatched = [[grad] * count if each is None else each for grad, each in zip(grads, passes)]
    results = [backward(*one) for one in zip(*unbatched)]
    return tuple(
        torch._add_batch_dim(torch.stack(values), 0, level) if isinstance(values[0], Tensor) else None
        for values in zip(*results)
    )
