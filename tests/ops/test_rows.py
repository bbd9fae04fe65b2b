"""mmdensenet.ops.rows: a pixel's channels are a row, whatever memory order the images have."""

import pytest
import torch

from mmdensenet.ops.rows import as_images, as_rows, empty_like_buffer, is_channels_last, new_buffer, own_images

SHAPE = 2, 3, 5


@pytest.mark.parametrize('order', [torch.contiguous_format, torch.channels_last])
def test_rows_and_back(order):
    x = torch.randn(2, 4, 3, 5).contiguous(memory_format=order)
    rows = as_rows(x)
    assert rows.shape == (30, 4) and torch.equal(rows[1 * 15 + 2 * 5 + 4], x[1, :, 2, 4])
    assert torch.equal(as_images(rows, SHAPE), x) and torch.equal(own_images(rows, SHAPE), x)
    buffer = new_buffer(x, 6)
    assert buffer.shape == (30, 6) and torch.equal(buffer[:, :4], rows)


def test_images_of_a_part_of_a_buffer():
    buffer = torch.randn(30, 9)
    part, expected = buffer[:, 3:7], as_images(buffer[:, 3:7].clone(), SHAPE)
    own = own_images(part, SHAPE)
    assert torch.equal(own, expected) and not own._is_view() and as_images(part, SHAPE)._is_view()
    assert own.untyped_storage().data_ptr() == buffer.untyped_storage().data_ptr()
    assert empty_like_buffer(part).stride() == part.stride() != torch.empty_like(part).stride()


@pytest.mark.parametrize(
    'change',
    [
        lambda x: x,
        lambda x: x.contiguous(memory_format=torch.channels_last),
        lambda x: x.permute(0, 1, 3, 2),
        lambda x: x[:, ::2],
        lambda x: x.contiguous(memory_format=torch.channels_last)[:, ::2],
        lambda x: x.contiguous(memory_format=torch.channels_last)[..., ::2],
        lambda x: x[:1, :, :1].expand(3, -1, 5, -1),
        lambda x: x.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2),
    ],
)
def test_channels_last_as_torch_takes_it(change):
    x = change(torch.randn(2, 8, 6, 7))
    expected = torch.cat([x, x], 1).stride(1) == 1
    assert is_channels_last(x) == expected
