"""One way to load all images, or a refusal; mean and deviation are those of the training part."""

import pytest
from looks import facts

from mmdensenet.apis.fit.image_reading import choose_reading
from mmdensenet.errors import UserError


@pytest.mark.parametrize(
    ('pictures', 'step', 'mean', 'std'),
    [
        ([facts()], "LoadGreyImage', window='full'", [100.0], [20.0]),
        ([facts(grey=False, mean=[90.0, 100, 110])], 'LoadImageFromFile', [90.0, 100.0, 110.0], [47.96, 20.0, 1.0]),
        ([facts(mean=[90.0] * 3, square=[8200.0] * 3), facts()], "window='full'", [95.0], [16.58]),
        # 12 bits of 16: 4095 becomes 255
        ([facts(kind='16', brightest=4000, mean=[6.0] * 3, square=[40.0] * 3)], 'window=(0, 4095)', [96.02], [32.01]),
        ([facts(kind='16', brightest=4095, mean=[6.0] * 3, square=[40.0] * 3)], 'window=(0, 4095)', [96.02], [32.01]),
        ([facts(kind='16', brightest=4096, mean=[6.0] * 3, square=[40.0] * 3)], "window='full'", [6.0], [2.0]),
        ([facts(kind='dicom', windowed=[50.0, 2600.0])], "window='dicom'", [50.0], [10.0]),
        ([facts(kind='dicom', windowed=w) for w in ([50.0, 2600.0], None)], "window='full'", [100.0], [20.0]),
    ],
)  # fmt: skip
def test_reading(pictures, step, mean, std):
    reading = choose_reading(pictures, pictures)
    assert step in reading.step
    assert reading.mean == mean
    assert reading.std == std
    assert reading.channels == len(mean)


def test_images_that_no_setting_reads_alike():
    with pytest.raises(UserError, match='some images are DICOM and others are not'):
        choose_reading([facts()], [facts(), facts(kind='dicom', windowed=None)])
    with pytest.raises(UserError, match='8 bits and others 12 of 16, which would be 16 times darker'):
        choose_reading([facts()], [facts(), facts(kind='16', brightest=4000)])
    # one in colour, and all are read in colour, as 8 bits of 16
    with pytest.raises(UserError, match='8 bits and others 12 of 16, which would be 16 times darker'):
        choose_reading([facts()], [facts(grey=False), facts(kind='16', brightest=4000)])
    with pytest.raises(UserError, match=r'use 10 of them, and some are in colour.* 64 times too dark'):
        choose_reading([facts()], [facts(kind='16', brightest=b, grey=b < 900) for b in (500, 1000)])
    dark = [facts(), facts(kind='16', brightest=4096)]
    assert "window='full'" in choose_reading(dark, dark).step, 'of no detector with 12 bits'
    bright = [facts(grey=False), facts(kind='16', brightest=65535)]
    assert choose_reading(bright, bright).channels == 3, 'as bright as those of 8 bits'
