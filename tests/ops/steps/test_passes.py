"""The passes over rows of which the plain steps are made."""

import pytest
import torch
from step_checks import assert_close, check_statistics_far_from_zero, rows

from mmdensenet.ops.steps import passes


def test_statistics_far_from_zero():
    check_statistics_far_from_zero(passes)


def test_statistics_of_what_float32_cannot_square():
    x = torch.tensor([[1e30, 0.0], [3e30, 4.0]])
    mean, var = passes.statistics(x)
    assert mean.tolist() == pytest.approx([2e30, 2]) and var[1] == 4 and var[0].isinf()


@pytest.mark.parametrize('overwrite', [False, True])
@pytest.mark.parametrize('with_coefficient', [False, True])
def test_consume_over_chunks(with_coefficient, overwrite, monkeypatch):
    """Chunks of 64 rows, the last of 22: each row once, and the sums of all."""
    monkeypatch.setattr(passes, 'CHUNK_BYTES', 1)
    torch.manual_seed(0)
    grad, features, out, z = rows(150, 5), rows(150, 5), rows(150, 5), rows(150, 5).relu()
    mean, coefficient = torch.randn(5), torch.randn(5) if with_coefficient else None
    dz, before = grad * (z > 0), out.clone()
    sums, lengths = passes.Sums(mean), []
    for part, of_z, of_rows, of_out in passes.chunks(grad.contiguous().clone(), z.contiguous(), features, out):
        passes.consume(part, of_z, of_rows, mean, coefficient, of_out, overwrite, sums)
        lengths.append(len(part))
    assert lengths == [64, 64, 22]
    assert_close(sums.dz, dz.double().sum(0), 'sum')
    assert_close(sums.centred, (dz.double() * (features.double() - mean)).sum(0), 'centred')
    wanted = dz if coefficient is None else dz * coefficient + (0 if overwrite else before)
    assert_close(out, wanted, 'out')
