"""An exported file has the metrics and predictions of its checkpoint; fit/test_hand_over.py has files in colour."""

import json

import numpy as np
import pytest
import torch
from foreign_models import randomise
from mmengine.config import Config
from mmpretrain.datasets import BaseDataset
from mmpretrain.registry import DATASETS

import mmdensenet
from mmdensenet.apis import export_model, test_model
from mmdensenet.apis.decide_checkpoint import decide_checkpoint
from mmdensenet.errors import UserError
from mmdensenet.results.decisions import OTHERS


def test_a_file_is_tested_as_its_checkpoint(decided, tmp_path):
    config, checkpoint, _ = decided
    file, lines = str(tmp_path / 'm.pt2'), []
    export_model(config, checkpoint, file, 'torch-export', dynamic=True, check=1)
    found = test_model(config, file, out=str(tmp_path / 'file.npz'), report=lines.append)
    wanted = test_model(config, checkpoint, out=str(tmp_path / 'checkpoint.npz'), work_dir=str(tmp_path))
    assert found == pytest.approx(wanted, abs=1e-4) and 'decided/coverage' in found and 'accuracy/top1' in found
    assert lines[0].startswith('Scores are calibrated') and lines[-1] == OTHERS
    with np.load(tmp_path / 'file.npz') as one, np.load(tmp_path / 'checkpoint.npz') as other:
        assert set(one) == set(other)
        for name in other:
            same = one[name].tolist() == other[name].tolist()
            assert same or np.abs(one[name] - other[name]).max() < 1e-3 * max(1, np.abs(other[name]).max()), name
    none = {'test_evaluator': None}
    with pytest.raises(UserError, match='there are no metrics: give out=FILE'):
        test_model(config, file, cfg_options=none)
    assert test_model(config, file, out=str(tmp_path / 'file.json'), cfg_options=none) == {}
    assert len(json.loads((tmp_path / 'file.json').read_text())) == 250
    with pytest.raises(UserError, match='tta: is for checkpoints'):
        test_model(config, file, tta=True)
    with pytest.raises(UserError, match='is an exported file: give the checkpoint'):
        decide_checkpoint(config, file)


@DATASETS.register_module()
class ColoursInMemory(BaseDataset):
    METAINFO = dict(classes=('a', 'b', 'c'))

    def load_data_list(self):
        generator = np.random.default_rng(0)
        pixels = generator.integers(0, 256, (6, 16, 16, 3)) * generator.uniform(0.1, 1, (6, 1, 1, 3))
        return [dict(img=image, gt_label=i % 3) for i, image in enumerate(pixels.astype(np.uint8))]


@pytest.mark.parametrize('to_rgb', [False, True])
def test_images_in_memory_have_the_order_of_the_models_colours(tmp_path, to_rgb):
    loader = dict(
        batch_size=6,
        dataset=dict(type='ColoursInMemory', ann_file='', pipeline=[dict(type='PackInputs')]),
        sampler=dict(type='DefaultSampler', shuffle=False),
    )
    cfg = Config(
        dict(
            model=dict(
                type='ImageClassifier',
                backbone=dict(
                    type='mmdensenet.DenseNet', arch=dict(growth_rate=4, depths=(2,), init_channels=8), stem='cifar'
                ),
                neck=dict(type='GlobalAveragePooling'),
                head=dict(type='LinearClsHead', num_classes=3, in_channels=16),
            ),
            data_preprocessor=dict(num_classes=3, mean=[120.0] * 3, std=[60.0] * 3, to_rgb=to_rgb),
            test_dataloader=loader,
            test_evaluator=dict(type='Accuracy'),
            test_cfg=dict(),
            work_dir=str(tmp_path),
        )
    )
    checkpoint, file = str(tmp_path / 'w.pth'), str(tmp_path / 'm.pt2')
    torch.save(dict(state_dict=randomise(mmdensenet.get_model(cfg)).state_dict(), meta={}), checkpoint)
    export_model(cfg, checkpoint, file, 'torch-export', dynamic=True, check=1)
    scores = []
    for source in (checkpoint, file):
        test_model(cfg, source, out=str(tmp_path / 'out.npz'))
        scores.append(np.load(tmp_path / 'out.npz')['pred_score'])
    assert np.abs(scores[0] - scores[1]).max() < 1e-5 and scores[0].std(0).max() > 1e-3
