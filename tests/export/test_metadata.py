"""What a file may say of the preparation of images."""

import json

import pytest
from conftest import CONFIGS

from mmdensenet.apis.config import load_config
from mmdensenet.apis.inference import pipeline_of
from mmdensenet.errors import UserError
from mmdensenet.export.metadata import Metadata, plain_steps


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


DECISIONS = dict(
    format=1,
    kind='single-label',
    classes=['a', 'b', 'c'],
    temperatures=[1.5],
    points=[],
    coverage=0.9,
    quantiles=[0.6],
    ood_threshold=-1.0,
    part='the validation part',
    samples=100,
    weights='0' * 64,
    left_out=[],
)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({}, None),
        (None, None),
        (dict(temperatures=[0]), 'file: its decisions have wrong temperatures'),
        (dict(kind='multi-label', temperatures=[1.0] * 3, quantiles=[0.5] * 3, points=[None] * 3), 'for another model'),
        (dict(classes=['a', 'b']), 'for another model'),
        (dict(part='\x1b]0;x'), 'file: its decisions have wrong part'),
    ],
)
def test_decisions_of_a_stranger_are_checked_when_the_file_is_opened(change, message):
    values = dict.fromkeys(Metadata.__dataclass_fields__)
    values |= dict(version='0', model='m', checkpoint='w.pth', sha256='', num_classes=3, multi_label=False, channels=3)
    values |= dict(order='RGB', size=[8, 8], reads='BGR', with_preprocess=False, any_size=False, int8=False, format=2)
    if change is None:
        del values['decisions']  # as all files before
    else:
        values['decisions'] = {**DECISIONS, **change}
    if message is None:
        found = Metadata.from_json(json.dumps(values), 'file')
        assert (found.read_decisions('file') is None) == (change is None)
        assert json.loads(found.to_json()) == values, 'written as it was read'
    else:
        with pytest.raises(UserError, match=message):
            Metadata.from_json(json.dumps(values), 'file')
