"""The images with which an exported file is calibrated and compared."""

import pytest
import torch

from mmdensenet.apis.export_images import BATCH, ExportImages, images_of_data_set
from mmdensenet.errors import UserError


def images(count: int, size=lambda i: 2) -> ExportImages:
    return ExportImages(range(count), lambda i: (torch.full((1, size(i), 2), i), dict(gt_label=torch.tensor(i))))


@pytest.mark.parametrize(
    ('there', 'asked', 'places'),
    [(10, 4, [0, 3, 6, 9]), (3, 9, [0, 1, 2]), (100, 1, [0]), (41, 21, list(range(0, 41, 2)))],
)
def test_evenly_spaced_images_in_batches(there, asked, places):
    batches = list(images(there).batches(asked))
    assert [int(pixels[0, 0, 0]) for batch, _ in batches for pixels in batch] == places
    assert [int(target['gt_label']) for _, targets in batches for target in targets] == places
    assert all(len(batch) <= BATCH for batch, _ in batches)
    assert [len(batch) for batch in images(there).lists(asked)] == [len(batch) for batch, _ in batches]


def test_several_sizes_make_no_batch():
    several = images(3, lambda i: 1 + i)
    assert [list(pixels.shape) for pixels, _ in next(several.lists(3))] == [[1, 1, 2], [1, 2, 2], [1, 3, 2]]
    with pytest.raises(UserError, match=r'several sizes, among them \[\(1, 1, 2\), \(1, 2, 2\)\]: give `input_size`'):
        list(several.batches(3))


def test_a_loader_that_is_not_there():
    with pytest.raises(UserError, match='the config has no test_dataloader'):
        images_of_data_set({}, 'test_dataloader')
