"""What a file may say of the preparation of images."""

import pytest
from conftest import CONFIGS

from mmdensenet.apis.config import load_config
from mmdensenet.apis.inference import pipeline_of
from mmdensenet.export.metadata import plain_steps


def test_what_packing_notes_beside_the_pixels_is_left_out():
    pack = dict(type='PackInputs', meta_keys=('img_path', 'group'), algorithm_keys=('x',))
    assert plain_steps([dict(type='LoadImageFromFile'), pack]) == [
        {'type': 'LoadImageFromFile'},
        {'type': 'PackInputs'},
    ]
    assert plain_steps([dict(type='PackInputs', input_key='other')]) is None
    assert plain_steps([dict(type='RandomFlip', prob=1.0)]) is None


@pytest.mark.parametrize(
    'file', sorted(CONFIGS.glob('*csv*.py')) + sorted(CONFIGS.glob('*folder*.py')), ids=lambda f: f.stem
)
def test_files_of_the_shipped_configs_can_be_opened(file):
    assert plain_steps(pipeline_of(load_config(str(file)))) is not None
