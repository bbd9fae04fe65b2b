"""The two fine-tuning configs, from training to predictions, on images made here, with a small backbone."""

import json
import re

import cv2
import mmcv
import numpy as np
import pytest
import torch
from conftest import CONFIGS, write_images
from foreign_models import DEPTHS, GROWTH, INIT, randomise, torchvision_model

import mmdensenet

LABELS = ['bright', 'striped']
BACKBONE = f'arch=dict(_delete_=True, growth_rate={GROWTH}, depths={DEPTHS}, init_channels={INIT})'


@pytest.fixture
def theirs(tmp_path):
    """Colour weights of torchvision's, as people start from."""
    torch.save(randomise(torchvision_model()).state_dict(), tmp_path / 'theirs.pth')
    return tmp_path / 'theirs.pth'


def small(tmp_path, theirs, name, data, num_classes):
    features = torchvision_model().classifier.in_features
    loaders = '\n'.join(
        f'{kind}_dataloader = dict(batch_size=8, num_workers=0, dataset=dict(data_root={str(data)!r}))'
        for kind in ('train', 'val', 'test')
    )
    file = tmp_path / f'{name}.py'
    file.write_text(f"""_base_ = {str(CONFIGS / name) + '.py'!r}
model = dict(backbone=dict({BACKBONE}), head=dict(num_classes={num_classes}, in_channels={features}))
{loaders}
train_cfg = dict(max_epochs=2)
param_scheduler = dict(milestones=[1])
load_from = {str(theirs)!r}
""")
    return file


def test_folder(run_tool, check_tool, tmp_path, theirs):
    for split in ('train', 'val'):
        write_images(tmp_path / 'data' / split, size=40, classes=3)
    config = small(tmp_path, theirs, 'densenet121_1xb32_folder', tmp_path / 'data', 3)
    done = check_tool('train.py', config, '--work-dir', tmp_path / 'w')
    assert 'layout of torchvision, converted' in done.out
    done = check_tool('test.py', config, tmp_path / 'w/epoch_2.pth', '--work-dir', tmp_path / 't')
    assert 'accuracy/top1' in done.out
    image = tmp_path / 'data/val/class_1/0.jpg'
    done = run_tool('predict.py', image, '--model', config, '--checkpoint', tmp_path / 'w/epoch_2.pth', '--json')
    assert json.loads(done.out)[0]['predictions'][0]['class'].startswith('class_'), 'names of the training data'


@pytest.fixture
def study(tmp_path):
    """48 grey images of 16 bits, of 12 patients: bright ones, striped ones, with unknown labels."""
    folder = tmp_path / 'data' / 'images'
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    lines = ['image,patient,bright,striped']
    for i in range(48):
        bright, striped = i % 2, i // 2 % 2
        pixels = rng.integers(0, 4000, (48, 56)) + 30000 * bright
        pixels[:, :: 4 if striped else 60] += 20000
        cv2.imwrite(str(folder / f'{i}.png'), pixels.astype(np.uint16))
        shown = striped if i % 7 else ('' if i % 2 else -1)
        lines.append(f'{i}.png,p{i % 12},{bright},{shown}')
    (tmp_path / 'data' / 'labels.csv').write_text('\n'.join(lines))
    return tmp_path / 'data'


@pytest.fixture
def csv_config(tmp_path, theirs, study):
    file = small(tmp_path, theirs, 'densenet121_1xb32_csv', study, 2)
    parts = dict(train=0.5, val=0.25, test=0.25)
    settings = f'label_columns={LABELS!r}, split_by=dict(fractions={parts!r})'
    text = file.read_text().replace('dataset=dict(', f'dataset=dict({settings}, ')
    file.write_text(f"""{text}
data_preprocessor = dict(num_classes=2)
train_dataloader['sampler'] = dict(_delete_=True, type='mmdensenet.BalancedSampler')
""")
    return file


def test_csv(check_tool, tmp_path, csv_config, theirs, study):
    done = check_tool('train.py', csv_config, '--work-dir', tmp_path / 'w')
    assert 'adapted from 3 to 1 input channels' in done.out
    assert list((tmp_path / 'w').glob('best_auroc_macro_epoch_*.pth'))
    saved = torch.load(tmp_path / 'w/epoch_2.pth', weights_only=True)
    assert saved['state_dict']['backbone.stem.0.weight'].shape[1] == 1
    assert list(saved['meta']['dataset_meta']['classes']) == LABELS

    out = tmp_path / 'predictions.json'
    options = ['--work-dir', tmp_path / 't', '--out', out, '--cfg-options', 'test_evaluator.bootstrap=50']
    done = check_tool('test.py', csv_config, tmp_path / 'w/epoch_2.pth', *options)
    for name in ('macro', *LABELS):
        assert re.search(rf'auroc/{name}: [\d.]+\n', done.out) and f'ap/{name}_low: ' in done.out
    tested = {record['img_path']: record['pred_score'] for record in json.loads(out.read_text())}
    assert {name.rsplit('/', 1)[0] for name in tested} == {str(study / 'images')}

    # the same scores from predict, of the file, and of its pixels
    path = next(iter(tested))
    model = mmdensenet.get_model(str(csv_config), str(tmp_path / 'w/epoch_2.pth'))
    pixels = mmcv.imread(path, 'unchanged')
    results = mmdensenet.inference(model, [path, pixels])
    assert pixels.dtype == np.uint16
    for result in results:
        assert np.allclose(result['pred_scores'], tested[path], atol=1e-6)
        assert result['pred_class'] == [LABELS[label] for label in result['pred_label']]
        assert result['pred_label'] == [i for i, score in enumerate(tested[path]) if score >= 0.5]
    check_tool(
        'predict.py', path, '--model', csv_config, '--checkpoint', tmp_path / 'w/epoch_2.pth', '--show', tmp_path / 's'
    )
    assert list((tmp_path / 's').glob('*.png'))


def test_unstated_policy_is_named(run_tool, tmp_path, csv_config):
    done = run_tool(
        'train.py', csv_config, '--work-dir', tmp_path / 'w', '--cfg-options', 'train_dataloader.dataset.uncertain=None'
    )
    assert done.status == 2 and 'dataset.uncertain=' in done.err, done.err
