"""Files of predictions."""

import json

import pytest

from mmdensenet.results.predictions import DumpPredictions


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
