"""Backward passes of many gradients at once are those of one after the other."""

import torch
from fused_blocks import pair, random

from mmdensenet.ops.block.batched import each_gradient


def test_each_gradient_sees_one_pass():
    seen = []

    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, y):
            return 2 * x, 3 * y

        @staticmethod
        def backward(ctx, *grads):
            def backward(grad_x, grad_y):
                seen.append(grad_x)
                return 2 * grad_x, None

            return each_gradient(backward, *grads)

    x = random(4).requires_grad_()
    vectors = random(3, 4, seed=1)
    out = Twice.apply(x, random(2).requires_grad_())[0]
    (found,) = torch.autograd.grad(out, [x], vectors, is_grads_batched=True, retain_graph=True)
    assert torch.equal(found, 2 * vectors) and len(seen) == 3
    assert all(torch.equal(one, vector) for one, vector in zip(seen, vectors))
    (found,) = torch.autograd.grad(out, [x], vectors[0])
    assert torch.equal(found, 2 * vectors[0]) and len(seen) == 4


def test_a_fused_block():
    _, block = pair()
    x = random(2, 5, 6, 6).requires_grad_()
    out = block(x)
    vectors = random(3, *out.shape, seed=1)
    inputs = [x, *block.parameters()]
    batched = torch.autograd.grad(out, inputs, vectors, is_grads_batched=True, retain_graph=True)
    for i, vector in enumerate(vectors):
        for found, wanted in zip(batched, torch.autograd.grad(out, inputs, vector, retain_graph=True)):
            assert torch.equal(found[i], wanted)
