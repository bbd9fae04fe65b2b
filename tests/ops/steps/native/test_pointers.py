"""The last line of defence: what the kernels cannot read is refused by name, before its address is taken."""

import functools

import pytest
import torch
from step_checks import without_storage
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from mmdensenet.ops.steps.native import float32_steps, pointers


class Subclass(torch.Tensor):
    pass


KINDS = {
    'meta': lambda t: t.to('meta'),
    'fake': lambda t: FakeTensorMode().from_tensor(t),
    'functional': torch._to_functional_tensor,
    'sparse': lambda t: t.to_sparse(),
    'mkldnn': lambda t: t.to_mkldnn(),
    'subclass': lambda t: t.as_subclass(Subclass),
    'negative': lambda t: torch._neg_view(t),
    'quantised': lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.quint8),
    'freed': without_storage,
    'float64': lambda t: t.double(),
    'integers': lambda t: t.int(),
    'nested': lambda t: torch.nested.nested_tensor([t, t]),
}


@pytest.mark.filterwarnings('ignore:The PyTorch API of nested tensors')
@pytest.mark.filterwarnings('ignore:.*quantize')
@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize(
    'take',
    [
        functools.partial(pointers.data_ptr, shape=(4, 5)),
        functools.partial(pointers.values_ptr, count=20),
        functools.partial(pointers.rows_ptr, count=4, channels=5),
        pointers.images_ptr,
    ],
    ids=['data', 'values', 'rows', 'images'],
)
def test_kinds_of_tensors(kind, take):
    with pytest.raises(ValueError, match=r'^weight: a? ?.*where the kernel takes '):
        take(KINDS[kind](torch.randn(4, 5)), 'weight')


def test_tensors_under_a_transform():
    def inner(x):
        with pytest.raises(ValueError, match=r'^x: '):
            pointers.data_ptr(x, 'x', tuple(x.shape))
        return x.sum()

    torch.vmap(inner)(torch.randn(3, 4))
    torch.func.grad(inner)(torch.randn(3, 4))


def test_shapes_and_strides():
    x = torch.randn(4, 6)
    assert pointers.data_ptr(x, 'x', (4, 6)) == pointers.values_ptr(x, 'x', 24) == x.data_ptr()
    assert pointers.rows_ptr(x[:, 1:4], 'x', 4, 3) == (x.data_ptr() + 4, 6)
    assert pointers.data_ptr(nn.Parameter(x), 'x', (4, 6)) == x.data_ptr()
    for wrong in (
        lambda: pointers.data_ptr(x, 'x', (6, 4)),
        lambda: pointers.data_ptr(x.t(), 'x', (6, 4)),
        lambda: pointers.values_ptr(x, 'x', 25),
        lambda: pointers.values_ptr(x[:, :3], 'x', 12),
        lambda: pointers.rows_ptr(x, 'x', 4, 7),
        lambda: pointers.rows_ptr(x.t(), 'x', 6, 4),
        lambda: pointers.rows_ptr(x[:, :0], 'x', 4, 0),
        lambda: pointers.rows_ptr(x[:1].expand(4, 6), 'x', 4, 6, written=True),
        lambda: pointers.weight_ptr(torch.randn(4, 6, 3, 2), 'x', 4, 6),
    ):
        with pytest.raises(ValueError, match=r'^x: a tensor'):
            wrong()


SHAPE, C, J, K = (2, 3, 4), 5, 6, 7
M, POOLED, HALVED = 24, 4, 8
ARGUMENTS = {
    'statistics': [(M, C)],
    'norm_relu_matmul': [(M, C), (C,), (C,), (J, C)],
    'norm_relu_matmul_backward': [(M, C), (C,), (C,), (C,), (J, C), (M, J), (C,), (M, C)],
    'norm_relu_pool_matmul': [(M, C), (C,), (C,), (J, C), None],
    'norm_relu_pool_matmul_backward': [(M, C), (C,), (C,), (C,), (J, C), None, (POOLED, J), (C,), (M, C)],
    'norm_relu_conv3x3': [(M, J), (J,), (J,), (K, J, 3, 3), None, (M, K), (M, K)],
    'norm_relu_conv3x3_backward': [(M, J), (J,), (J,), (J,), (K, J, 3, 3), None, (M, K)],
    'norm_relu_max_pool': [(M, C), (C,), (C,), None],
    'norm_relu_max_pool_backward': [(M, C), (C,), (C,), (C,), None, (HALVED, C)],
    'batch_norm_backward_sums': [(M, C), (M, C), (C,)],
    'batch_norm_backward': [(M, C), (M, C), (C,), (C,), (C,), (C,), (C,), (1,), (M, C), (M, C)],
    'evaluate_stem': [(2, 3, 9, 9), (J, 3, 7, 7), (J,), (J,)],
}

#: step, argument and dimension that nothing else says: how wide the result of a weight is, and which images there are
SAY_THEIR_SIZE = {
    ('norm_relu_matmul', 3, 0),
    ('norm_relu_pool_matmul', 3, 0),
    ('norm_relu_matmul', 0, 0),
    ('evaluate_stem', 0, 0),
    ('evaluate_stem', 0, 3),
}


@pytest.mark.parametrize('name', ARGUMENTS)
def test_no_step_reads_beyond_what_it_is_given(name, native_kernels):
    """Each argument in turn is shorter in its first or last dimension than the others say, and refused."""
    step, shapes = getattr(float32_steps, name), ARGUMENTS[name]
    given = [SHAPE if shape is None else torch.randn(shape) for shape in shapes]
    step(*given)
    for i, shape in enumerate(shapes):
        if shape in (None, (1,)) or len(shapes) == 1:
            continue
        for dim in {0, len(shape) - 1}:
            changed = [*given[:i], given[i].narrow(dim, 0, shape[dim] - 1), *given[i + 1 :]]
            if (name, i, dim) in SAY_THEIR_SIZE:
                step(*changed)
                continue
            with pytest.raises((ValueError, RuntimeError)):
                step(*changed)
