"""The training curves are drawn at the end, if there are any."""

import json
import logging
from types import SimpleNamespace

from PIL import Image

from mmdensenet.results.training_curves import PICTURE
from mmdensenet.training.hooks.curves_hook import CurvesHook


def test_a_picture_of_what_was_logged(tmp_path, caplog):
    caplog.set_level('INFO')
    runner = SimpleNamespace(work_dir=str(tmp_path), logger=logging.getLogger('curves of a test'))
    CurvesHook().after_train(runner)
    assert not list(tmp_path.iterdir()) and not caplog.messages, 'nothing was logged'
    folder = tmp_path / '20260101_000000/vis_data'
    folder.mkdir(parents=True)
    records = [dict(lr=0.1, loss=3.0 / i, epoch=1, iter=i, step=i) for i in (1, 2, 3)]
    (folder / 'scalars.json').write_text('\n'.join(map(json.dumps, records)))
    CurvesHook().after_train(runner)
    with Image.open(tmp_path / PICTURE) as picture:
        assert len(picture.convert('RGB').getcolors(1 << 24)) > 2
    assert caplog.messages == [f'The training curves are in {tmp_path / PICTURE}']
