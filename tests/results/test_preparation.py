"""Which changes of a pipeline are changes of the pixels, so that decisions are no longer for them."""

import pytest
import torch
from mmengine.config import ConfigDict
from mmpretrain.models.utils import ClsDataPreprocessor

from mmdensenet.models.data_preprocessor import normalise_in_place
from mmdensenet.results.decisions import first_difference
from mmdensenet.results.preparation import LONGEST, NO_STEPS, preparation

STEPS = (
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=256, edge='short'),
    dict(type='CenterCrop', crop_size=(224, 224)),
    dict(type='PackInputs'),
)


def model(**settings) -> torch.nn.Module:
    made = torch.nn.Module()
    made.data_preprocessor = ClsDataPreprocessor(**{'mean': [1.0, 2, 3], 'std': [4.5] * 3, 'to_rgb': True, **settings})
    return made


def prepared(*steps, **settings) -> tuple[str, ...]:
    return preparation(model(**settings), ConfigDict(dataset=dict(type='Any', pipeline=list(steps))))


def with_step(number: int, **changes) -> tuple[str, ...]:
    steps = [dict(step) for step in STEPS]
    steps[number].update(changes)
    return prepared(*steps)


def test_the_text():
    assert prepared(*STEPS) == (
        'LoadImageFromFile()',
        'ResizeEdge(edge=short, scale=256)',
        'CenterCrop(crop_size=[224, 224])',
        'ClsDataPreprocessor(to_rgb=True, pad_size_divisor=1, mean=[1.0, 2.0, 3.0], std=[4.5, 4.5, 4.5])',
    )
    assert prepared(dict(type='PackInputs'))[:-1] == (NO_STEPS,)
    assert preparation(model(), None) == prepared(*STEPS)[-1:]


@pytest.mark.parametrize(
    ('number', 'changes'),
    [
        (0, dict(type='mmdensenet.LoadImage')),
        (0, dict(type='mmpretrain.LoadImageFromFile', backend_args=None)),
        (1, dict(scale=256.0, _scope_='mmpretrain')),
        (2, dict(crop_size=[224, 224])),
        (3, dict(meta_keys=('img_path', 'group'))),
    ],
)
def test_what_changes_no_pixel(number, changes):
    assert with_step(number, **changes) == prepared(*STEPS)


@pytest.mark.parametrize(
    ('number', 'changes'),
    [(0, dict(color_type='grayscale')), (1, dict(scale=255)), (1, dict(edge='long')), (2, dict(type='RandomCrop'))],
)
def test_what_changes_pixels(number, changes):
    changed = with_step(number, **changes)
    assert first_difference(prepared(*STEPS), changed) == (prepared(*STEPS)[number], changed[number])


def test_normalisation_and_steps_more():
    same = model()
    normalise_in_place(same)
    loader = dict(dataset=dict(type='Any', pipeline=list(STEPS)))
    assert preparation(same, loader) == prepared(*STEPS), "ours is mmpretrain's, only quicker"
    for settings in (dict(mean=[1.0, 2, 4]), dict(std=[4.5, 4.5, 4]), dict(to_rgb=False), dict(mean=None, std=None)):
        assert first_difference(prepared(*STEPS), prepared(*STEPS, **settings))[0].startswith('ClsDataPreprocessor(')
    longer = prepared(*STEPS, dict(type='Flip'))
    assert first_difference(prepared(*STEPS), longer) == (prepared(*STEPS)[-1], 'Flip()')
    assert first_difference(prepared(*STEPS), prepared()) is None, 'of no pipeline only the normalisation is known'
    assert first_difference(prepared(dict(type='PackInputs')), prepared(*STEPS)) is not None
    assert first_difference((), longer) is None


def test_several_pipelines_and_texts_that_are_passed_on():
    parts = [dict(type='Any', pipeline=list(steps)) for steps in (STEPS, STEPS[:2], STEPS)]
    found = preparation(model(), dict(dataset=dict(type='ConcatDataset', datasets=parts)))
    assert len(found) == 3 and first_difference(found, prepared(*STEPS)) is not None
    path, other = (with_step(1, table=f'/home/{name}/table.npy') for name in ('jane', 'joe'))
    assert 'jane' not in str(path) and path != other
    long, longer = (with_step(1, table=list(range(1000, end)))[1] for end in (1500, 1501))
    assert len(long) <= LONGEST and long != longer
