"""Counts against the metafile and against hand-computed ones; memory against real steps."""

import json
import sys

import pytest
from conftest import CONFIGS
from mmengine.config import Config
from small_costs import ROWS, small

from mmdensenet.analysis.input_shape import input_shape
from mmdensenet.analysis.stage_costs import build_meta_model, count_stages, measure_memory, predict_memory
from mmdensenet.errors import UserError

COUNTED = {}


def counted(cfg, shape):
    """Many configs have the same model, but for dropout."""
    for key in ('drop_rate', 'drop_after', 'drop_path_rate'):
        cfg.model.backbone.pop(key, None)
    cfg.model.pop('train_cfg', None)
    key = json.dumps([cfg.model, shape], sort_keys=True, default=list)
    if key not in COUNTED:
        COUNTED[key] = count_stages(cfg, shape)
    return COUNTED[key]


@pytest.mark.parametrize('file', sorted(CONFIGS.glob('*.py')), ids=lambda file: file.stem)
@pytest.mark.slow
def test_totals_are_those_of_the_metafile(file):
    cfg, row = Config.fromfile(file), ROWS[file.stem]['Metadata']
    shape = input_shape(cfg)
    assert list(shape) == row['Input']
    stages, reason = counted(cfg, shape)
    assert reason is None
    assert sum(stage.parameters for stage in stages) == row['Parameters']
    assert sum(stage.multiply_adds['reference'] for stage in stages) == row['Multiply-Adds']
    for stage in stages:
        pools_first = stage.name.startswith('transition')
        assert stage.multiply_adds['reference'] == stage.multiply_adds['fused'] * (4 if pools_first else 1), stage.name


def test_all_stages_by_hand():
    stages, reason = count_stages(small(), (3, 16, 16))
    assert reason is None
    by_name = {stage.name: stage for stage in stages}
    assert list(by_name) == ['stem', 'dense block 1', 'transition 1', 'dense block 2', 'final norm', 'head']
    # layers read 8 and 12 channels (norm 2C, C*16, norm 32, 9*16*4), then 8 and 12 again: 16 * 0.5 are passed on
    block = sum(2 * c + 16 * c + 32 + 576 for c in (8, 12))
    assert [stage.parameters for stage in stages] == [216, block, 32 + 16 * 8, block, 32, 16 * 3 + 3]
    products = sum(16 * c + 576 for c in (8, 12))
    reference = [216 * 256, products * 256, 128 * 256, products * 64, 0, 48]
    assert [stage.multiply_adds['reference'] for stage in stages] == reference
    reference[2] //= 4
    assert [stage.multiply_adds['fused'] for stage in stages] == reference


def test_odd_sizes_are_pooled_down():
    (stage,) = [s for s in count_stages(small(), (3, 15, 13))[0] if s.name == 'transition 1']
    assert stage.multiply_adds == dict(reference=128 * 15 * 13, fused=128 * 7 * 6)


def test_kept_is_the_formula_of_the_docs():
    """M (C0 + L k) + L M 4k values for a fused block, and small statistics; concatenated, 2 C_l + 2 * 4k a layer."""
    stages = {s.name: s for s in count_stages(small(), (3, 64, 64))[0]}
    rows = 64 * 64
    assert stages['dense block 1'].kept_bytes['fused'] == pytest.approx(4 * rows * (8 + 2 * 4 + 2 * 16), rel=0.02)
    # and the transition's norm, ReLU and pooling keep their inputs: 16, 16 and 8 channels
    layers = 2 * (8 + 12) + 2 * 2 * 16
    assert stages['dense block 1'].kept_bytes['reference'] == pytest.approx(4 * rows * (layers + 40), rel=0.02)
    assert stages['transition 1'].kept_bytes == dict(reference=None, fused=None)


def test_memory_efficient_keeps_less():
    plain, recompute = (
        sum(s.kept_bytes['reference'] or 0 for s in count_stages(small(memory_efficient=on), (3, 32, 32))[0])
        for on in (False, True)
    )
    assert recompute < 0.85 * plain


def test_what_cannot_be_counted():
    cfg = small()
    cfg.model.backbone = dict(type='ResNet', depth=18)
    with pytest.raises(UserError, match=r"model\.backbone\.type='ResNet'"):
        build_meta_model(cfg, 'reference')
    with pytest.raises(UserError, match='images of 2x2 cannot be computed'):
        count_stages(small(arch=dict(growth_rate=4, depths=(1, 1, 1, 1), init_channels=8)), (3, 2, 2))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != 'linux', reason='the peak is read as Linux has it')
@pytest.mark.parametrize('engine', ['reference', 'fused'])
def test_measured_is_near_the_prediction(engine, monkeypatch):
    """With a fixed threshold from which glibc returns memory to the system, so that its reserves are not measured."""
    monkeypatch.setenv('MALLOC_MMAP_THRESHOLD_', str(2**18))
    cfg = Config.fromfile(CONFIGS / 'densenet-bc-l40-k12_1xb64_cifar10.py')
    expected = predict_memory(cfg, (3, 32, 32), engine)
    measured = measure_memory(cfg, (3, 32, 32), engine, 'cpu', expected)
    assert measured.per_image == pytest.approx(expected.per_image, rel=0.2)
    assert measured.constant > expected.constant, 'the process is in it'


@pytest.mark.slow
def test_measuring_tells_what_fails():
    with pytest.raises(UserError, match='cannot be measured on cuda:99'):
        measure_memory(small(), (3, 16, 16), 'fused', 'cuda:99')
