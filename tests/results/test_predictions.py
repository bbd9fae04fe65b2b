"""Files of predictions."""

import json

import numpy as np
import pytest
import torch

from mmdensenet.errors import UserError
from mmdensenet.results.predictions import DumpPredictions, read_columns


@pytest.mark.parametrize('suffix', ['json', 'npz', 'parquet'])
def test_a_path_in_no_encoding(tmp_path, suffix):
    """As os.listdir gives it. What is written after hours of testing is not to fail because of a name."""
    file = tmp_path / f'p.{suffix}'
    if suffix == 'parquet':
        parquet = pytest.importorskip('pyarrow.parquet', reason='pyarrow is not installed')
    writer = DumpPredictions(str(file))
    writer.process({}, [dict(img_path='a/\udcff.png', pred_label=1)])
    writer.evaluate(1)
    if suffix == 'json':
        assert json.loads(file.read_text()) == [dict(img_path='a/\udcff.png', pred_label=1)]
    if suffix == 'parquet':
        assert parquet.read_table(file).to_pylist() == [dict(img_path='a/\\udcff.png', pred_label=1)]
    assert file.stat().st_size > 0


@pytest.mark.parametrize('suffix', ['json', 'npz', 'parquet'])
def test_what_is_written_is_read(tmp_path, suffix):
    """Of two images, of which one has one label and the other several; and one has no label for a second task."""
    if suffix == 'parquet':
        parquet = pytest.importorskip('pyarrow.parquet', reason='pyarrow is not installed')
    file = tmp_path / f'p.{suffix}'
    writer = DumpPredictions(str(file), tta=True)
    for i, labels in enumerate(([1], [0, 1])):
        image = dict(img_path=f'{i}.png', sample_idx=i + 7)
        task = dict(image, pred_label=torch.tensor([2]), **(dict(gt_label=torch.tensor([1])) if i == 0 else {}))
        scores = torch.tensor([0.75, 0.25])
        writer.process({}, [dict(image, gt_label=torch.tensor(labels), pred_score=scores, other=1, colour=task)])
    assert writer.evaluate(2) == {}
    labels = [[1], [0, 1]] if suffix == 'parquet' else [1, [0, 1]]
    found = read_columns(file)
    assert {name: np.asarray(column).tolist() for name, column in found.items() if name != 'gt_label'} == dict(
        img_path=['0.png', '1.png'], sample_idx=[7, 8], pred_score=[[0.75, 0.25]] * 2, tta=[True, True]
    )
    assert list(found['gt_label']) == labels
    names = ['img_path', 'sample_idx', 'gt_label', 'pred_score', 'colour/pred_label', 'tta']
    if suffix == 'npz':
        with np.load(file) as arrays:
            assert arrays.files == names and arrays['colour/pred_label'].tolist() == [2, 2]
        return
    rows = json.loads(file.read_text()) if suffix == 'json' else parquet.read_table(file).to_pylist()
    assert [row.get('colour/gt_label') for row in rows] == [1, None] and [*rows[1]][:4] == names[:4]
    assert [row['colour/pred_label'] for row in rows] == [2, 2]


@pytest.mark.parametrize(
    ('low', 'high', 'wrong'),
    [(-5e-7, 1 + 5e-7, 0), (-2e-6, 0.5, 2), (0.5, 1 + 2e-6, 2), (0.5, float('nan'), 2)],
)
def test_scores_are_probabilities_to_rounding(tmp_path, low, high, wrong):
    np.savez(tmp_path / 'p.npz', pred_score=[[0.0, 1.0], [low, high], [low, high]])
    if not wrong:
        assert list(read_columns(tmp_path / 'p.npz')) == ['pred_score']
        return
    with pytest.raises(UserError, match=r'of 2 of 3 images are not .* the first in row 1'):
        read_columns(tmp_path / 'p.npz')
