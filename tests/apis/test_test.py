"""Testing what has no labels."""

import json

import numpy as np
import pytest
import torch
from conftest import write_images

import mmdensenet
from mmdensenet.apis import Inferencer, test_model, train_model
from mmdensenet.errors import UserError

EXTRA = """
pipeline = [dict(type='LoadImageFromFile', color_type='grayscale'), dict(type='PackInputs')]
plain = dict(type='CustomDataset', data_root={root!r}, with_label=False, pipeline=pipeline)
names = dict(classes=('class_0', 'class_1', 'class_2'))
labelled = dict(type='CustomDataset', data_root={root!r}, pipeline=pipeline)
test_dataloader = dict(dataset=dict(_delete_=True, **{chosen}))
"""


@pytest.fixture
def model(short_config, tmp_path):
    checkpoint = tmp_path / 'm.pth'
    torch.save(dict(state_dict=mmdensenet.get_model(str(short_config())).state_dict()), checkpoint)
    root = write_images(tmp_path / 'images')

    def config(chosen: str, more: str = '') -> str:
        return str(short_config(EXTRA.format(root=str(root), chosen=chosen) + more, name='unlabelled.py'))

    return config, str(checkpoint), root, str(tmp_path / 'work')


def test_a_test_set_without_labels_is_predicted(model, tmp_path):
    config, checkpoint, root, work_dir = model
    out = tmp_path / 'p.json'
    assert test_model(config('plain'), checkpoint, work_dir=work_dir, out=str(out)) == {}
    records = json.loads(out.read_text())
    wanted = Inferencer(config('plain'), checkpoint)([record['img_path'] for record in records])
    assert len(records) == len(list(root.rglob('*.jpg'))) == 12
    for record, result in zip(records, wanted):
        assert 'gt_label' not in record
        assert record['pred_label'] == result['pred_label']
        assert np.allclose(record['pred_score'], result['pred_scores'], atol=1e-6)
    log = '\n'.join(file.read_text() for file in (tmp_path / 'work').rglob('*.log'))
    assert 'The test set has no labels: its 12 images are predicted and not evaluated.' in log


def test_a_config_without_evaluator_is_predicted(model, tmp_path):
    config, checkpoint, _, work_dir = model
    out = tmp_path / 'p.npz'
    assert test_model(config('labelled', 'test_evaluator = None'), checkpoint, work_dir=work_dir, out=str(out)) == {}
    assert np.load(out)['gt_label'].tolist() == [i // 4 for i in range(12)]


KINDS = {
    'table': "dict(type='mmdensenet.CSVDataset', ann_file='{root}/t.csv', with_label=False, pipeline=pipeline)",
    'list': "dict(plain, ann_file='{root}/l.txt')",
    'concatenated': "dict(type='ConcatDataset', datasets=[plain, plain])",
    'repeated': "dict(type='RepeatDataset', times=2, dataset=plain)",
    'part': "dict(type='KFoldDataset', dataset=plain, fold=0, num_splits=3, test_mode=True)",
    'tables': "dict(type='ConcatDataset', datasets=[{table}, {table}])",
}


@pytest.mark.parametrize('kind', KINDS)
def test_each_kind_of_data_set_without_labels_is_predicted(model, tmp_path, kind):
    config, checkpoint, root, work_dir = model
    files = sorted(str(path) for path in root.rglob('*.jpg'))
    names = [path.removeprefix(f'{root}/') for path in files]
    (root / 't.csv').write_text('\n'.join(['image', *(f'{root}/{name}' for name in names)]))
    (root / 'l.txt').write_text('\n'.join(names))
    chosen = KINDS[kind].replace('{table}', KINDS['table']).replace('{root}', str(root))
    out = tmp_path / 'p.json'
    assert test_model(config(chosen), checkpoint, work_dir=work_dir, out=str(out)) == {}
    records = json.loads(out.read_text())
    times = 2 if kind in ('concatenated', 'repeated', 'tables') else 1
    expected = files[:4] if kind == 'part' else files * times
    assert [record['img_path'] for record in records] == expected
    assert all('gt_label' not in record for record in records)


@pytest.mark.parametrize(
    ('chosen', 'arguments', 'message'),
    [
        ('plain', {}, r'^the test set has no labels, so there are no metrics: give '),
        ('plain', dict(out='m.json', out_item='metrics'), r'^the test set has no labels, so there are no metrics'),
        (
            "dict(type='ConcatDataset', datasets=[labelled, dict(plain, metainfo=names)])",
            dict(out='p.json'),
            r'^test_dataloader: .*images.* has no labels and other parts of the test set have',
        ),
    ],
)
def test_what_cannot_be_done_is_said(model, tmp_path, monkeypatch, chosen, arguments, message):
    config, checkpoint, _, work_dir = model
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        test_model(config(chosen), checkpoint, work_dir=work_dir, **arguments)


@pytest.mark.parametrize('key', ['train', 'val'])
def test_training_needs_labels(model, key):
    config, _, root, work_dir = model
    part = f'{key}_dataloader = dict(dataset=dict(_delete_=True, **plain))'
    with pytest.raises(UserError, match=rf'^{key}_dataloader: the data set {root}/? has no labels'):
        train_model(config('plain', part), work_dir=work_dir)
    assert not list(root.parent.glob('work/*.pth'))
