"""A config, a name or an exported file becomes an inferencer."""

from pathlib import Path

import numpy as np
import pytest
from mmengine import fileio

from mmdensenet.apis import Inferencer, open_inferencer
from mmdensenet.errors import UserError


def test_open_inferencer(config, checkpoint, images, tmp_path):
    expected = Inferencer(str(config), str(checkpoint))(images)
    opened = open_inferencer(config, str(checkpoint), classes=('a', 'b', 'c'))
    assert opened.classes == ('a', 'b', 'c')
    for result, other in zip(opened(images), expected):
        assert np.array_equal(result['pred_scores'], other['pred_scores'])


@pytest.mark.parametrize('loads', [True, False])
def test_the_content_of_a_file_is_as_good_as_the_file(config, checkpoint, images, loads):
    from mmengine.config import Config

    cfg = Config.fromfile(config)
    if loads:  # the storage of files is not asked for what is in memory
        cfg.test_dataloader.dataset.pipeline[0].backend_args = dict(backend='local')
    else:
        cfg.test_dataloader.dataset.pipeline = cfg.test_dataloader.dataset.pipeline[1:]
    inferencer = Inferencer(cfg, str(checkpoint))
    files = sorted(str(file) for file in images.rglob('*.jpg'))
    contents = [Path(file).read_bytes() for file in files]
    expected = inferencer(files, batch_size=6)
    for got in (inferencer(contents, batch_size=6), inferencer.predict([inferencer.prepare(c) for c in contents])):
        for a, b in zip(got, expected):
            assert np.array_equal(a['pred_scores'], b['pred_scores']) and a['pred_class'] == b['pred_class']
            assert 'img_path' not in a
    for broken in (b'', b'text', contents[0][:300], contents[0][:20]):
        with pytest.raises(UserError, match=r'^the image cannot be read'):
            inferencer(broken)
    with pytest.raises(FileNotFoundError):  # nothing is left of it
        fileio.get('memory://0')


@pytest.mark.parametrize('device', ['abacus', 'cuda:99'])
def test_a_device_that_is_not_here(config, checkpoint, tmp_path, device):
    (tmp_path / 'model.onnx').touch()
    for model in (config, tmp_path / 'model.onnx'):
        with pytest.raises(UserError, match=rf"^device '{device}' cannot be used here \(.*\): give cpu"):
            open_inferencer(model, str(checkpoint) if model == config else None, device)
