"""What is known of one image, and what is read again."""

import numpy as np
from own_images import write

from mmdensenet.apis.fit.pictures import read_picture


def test_moments_depth_and_colour(tmp_path):
    grey = np.random.default_rng(0).integers(0, 4096, (20, 24)).astype(np.uint16)
    write(tmp_path / 'deep.png', grey)
    found = read_picture(str(tmp_path), 'deep.png')
    assert (found['kind'], found['grey'], found['size']) == ('16', True, [20, 24])
    assert found['brightest'] == grey.max()
    np.testing.assert_allclose(found['mean'], 3 * [(grey / 257).mean()], rtol=1e-5)
    np.testing.assert_allclose(found['square'], 3 * [((grey / 257) ** 2).mean()], rtol=1e-5)
    colour = np.random.default_rng(1).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    write(tmp_path / 'colour.png', colour)
    found = read_picture(str(tmp_path), 'colour.png')
    assert not found['grey']
    np.testing.assert_allclose(found['mean'], colour[..., ::-1].mean((0, 1)), rtol=1e-5)
    write(tmp_path / 'as_colour.jpg', np.stack([colour[..., 0]] * 3, -1))
    assert read_picture(str(tmp_path), 'as_colour.jpg')['grey'], 'three equal channels are grey'
