"""A model with a head per task: its predictions are written, and what does not support it says so before the work."""

import json

import numpy as np
import pytest
import torch
from conftest import DIGITS
from multi_task import write_multi_task
from PIL import Image

import mmdensenet
from mmdensenet.apis import Inferencer, export_model, test_model, train_model
from mmdensenet.apis.report import make_report
from mmdensenet.apis.tasks import task_names
from mmdensenet.apis.visualize import draw_cam, draw_confusion, draw_data, draw_embedding
from mmdensenet.errors import UserError


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp('tasks')
    config = write_multi_task(folder / 'data', DIGITS)
    train_model(str(config), work_dir=str(folder / 'work'))
    return str(config), str(folder / 'work/epoch_1.pth'), folder


def expected_scores(config: str, checkpoint: str, folder) -> dict[str, np.ndarray]:
    """Of the images in their order, by the model alone."""
    model = mmdensenet.get_model(config, checkpoint)
    pixels = [np.asarray(Image.open(folder / f'data/{i}.png'))[..., ::-1].copy() for i in range(12)]
    inputs = (torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() - 100) / 60
    with torch.no_grad():
        logits = model.head(model.extract_feat(inputs))
    return {task: value.softmax(1).numpy() for task, value in logits.items()}


def test_each_tasks_predictions_are_written(trained, tmp_path):
    config, checkpoint, folder = trained
    wanted = expected_scores(config, checkpoint, folder)
    for name in ('p.json', 'p.npz', 'p.parquet'):
        metrics = test_model(config, checkpoint, work_dir=str(tmp_path / 'w'), out=str(tmp_path / name))
    records = json.loads((tmp_path / 'p.json').read_text())
    assert [record['img_path'] for record in records] == [f'{folder}/data/{i}.png' for i in range(12)]
    for i, record in enumerate(records):
        assert record['kind/gt_label'] == i % 3
        assert record.get('dark/gt_label') == (None if i % 2 else i // 2 % 2)
        for task, scores in wanted.items():
            assert record[f'{task}/pred_label'] == int(scores[i].argmax())
            assert np.allclose(record[f'{task}/pred_score'], scores[i], atol=1e-6)
    right = np.mean([record['kind/pred_label'] == record['kind/gt_label'] for record in records])
    assert metrics['kind_accuracy/top1'] == pytest.approx(100 * right)
    arrays = np.load(tmp_path / 'p.npz')
    assert arrays['dark/pred_score'].shape == (12, 2) and 'dark/gt_label' not in arrays.files  # not of all images
    table = pytest.importorskip('pyarrow.parquet').read_table(tmp_path / 'p.parquet').to_pylist()
    assert table[2]['dark/gt_label'] == 1 and table[1]['dark/gt_label'] is None


def test_images_without_labels_of_several_tasks(trained, tmp_path):
    """Some images without any keep their paths; a test set without any is predicted and not evaluated."""
    config, checkpoint, folder = trained
    wanted = expected_scores(config, checkpoint, folder)
    content = json.loads((folder / 'data/a.json').read_text())
    for name, kept in (('some', 3), ('none', 0)):
        for sample in content['data_list'][kept:]:
            sample.pop('gt_label', None)
        (folder / f'data/{name}.json').write_text(json.dumps(content))
        options = {'test_dataloader.dataset.ann_file': f'{name}.json'}
        out = tmp_path / f'{name}.json'
        metrics = test_model(config, checkpoint, work_dir=str(tmp_path / 'w'), out=str(out), cfg_options=options)
        assert set(metrics) == ({'kind_accuracy/top1', 'dark_accuracy/top1'} if kept else set())
        records = json.loads(out.read_text())
        assert [record['img_path'] for record in records] == [f'{folder}/data/{i}.png' for i in range(12)]
        assert [i for i, record in enumerate(records) if 'kind/gt_label' in record] == list(range(kept))
        assert np.allclose([record['kind/pred_score'] for record in records], wanted['kind'], atol=1e-6)
    with pytest.raises(UserError, match=r'^train_dataloader: the data set .*none\.json has no labels'):
        train_model(
            config, work_dir=str(tmp_path / 'w'), cfg_options={'train_dataloader.dataset.ann_file': 'none.json'}
        )


def test_what_does_not_support_it_says_so_before_the_work(trained, tmp_path):
    config, checkpoint, folder = trained
    image = str(folder / 'data/0.png')
    for call in (
        lambda: test_model(config, checkpoint, work_dir=str(tmp_path), tta=True),
        lambda: test_model(config, checkpoint, work_dir=str(tmp_path), show_dir=str(tmp_path / 'shown')),
        lambda: Inferencer(config, checkpoint),
        lambda: export_model(config, checkpoint, tmp_path / 'm.onnx'),
        lambda: make_report(config, checkpoint, tmp_path / 'r.html'),
        lambda: draw_confusion(config, checkpoint, tmp_path / 'c.png'),
        lambda: draw_embedding(config, checkpoint, tmp_path / 'e.png'),
        lambda: draw_cam(config, checkpoint, [image], tmp_path / 'm.png'),
        lambda: mmdensenet.get_model(config, num_classes=5),
    ):
        with pytest.raises(UserError, match=r'\(MultiTaskHead: kind, dark\): `mmdensenet test --out FILE`'):
            call()
    assert not list(tmp_path.glob('*.*'))


WRAPPED = """
_base_ = {config!r}
part = dict(_base_.train_dataloader.dataset)
fold = dict(type='KFoldDataset', fold=0, num_splits=3, dataset=part)
both = dict(type='ConcatDataset', _delete_=True, datasets=[dict(type='RepeatDataset', times=2, dataset=part), fold])
train_dataloader = dict(dataset=both)
test_dataloader = dict(dataset=both)
val_dataloader = dict(dataset=dict(fold, test_mode=True, _delete_=True))
"""


def test_wrapped_data_sets_of_several_tasks(trained, tmp_path):
    """Trained, tested and drawn: 12 images twice, then the last 8 of three folds; a validation with the first 4."""
    config, checkpoint, folder = trained
    wanted = expected_scores(config, checkpoint, folder)
    (tmp_path / 'w.py').write_text(WRAPPED.format(config=config))
    runner = train_model(str(tmp_path / 'w.py'), work_dir=str(tmp_path / 'work'))
    assert len(runner.train_dataloader.dataset) == 32 and len(runner.val_dataloader.dataset) == 4
    test_model(str(tmp_path / 'w.py'), checkpoint, work_dir=str(tmp_path / 't'), out=str(tmp_path / 'p.json'))
    records = json.loads((tmp_path / 'p.json').read_text())
    order = [*range(12), *range(12), *range(4, 12)]
    assert [record['kind/gt_label'] for record in records] == [i % 3 for i in order]
    assert np.allclose([record['kind/pred_score'] for record in records], wanted['kind'][order], atol=1e-6)
    draw_data(str(tmp_path / 'w.py'), tmp_path / 'd.png', images=2, draws=2)
    assert (tmp_path / 'd.png').stat().st_size > 5000
    balanced = dict(type='ClassBalancedDataset', oversample_thr=0.5)
    options = {f'train_dataloader.dataset.datasets.0.{key}': value for key, value in balanced.items()}
    cfg = mmdensenet.apis.load_config(str(tmp_path / 'w.py'), options)
    cfg.train_dataloader.dataset.datasets[0].pop('times')
    with pytest.raises(UserError, match=r'a\.json has labels of several tasks, and so no classes'):
        train_model(cfg, work_dir=str(tmp_path / 'b'))


def test_tasks_of_configs_and_modules():
    assert task_names(None) == task_names(dict(type='LinearClsHead')) == task_names(torch.nn.Linear(1, 1)) == []
    assert task_names(dict(type='mmpretrain.MultiTaskHead', task_heads=dict(a={}, b={}))) == ['a', 'b']
