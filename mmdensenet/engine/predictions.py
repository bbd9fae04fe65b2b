"""Predictions as a JSON, npz or parquet file."""

import json
from pathlib import Path

import numpy as np
from mmengine.evaluator import BaseMetric

from mmdensenet.errors import UserError


class DumpPredictions(BaseMetric):
    """Write a list, one object per image: ``img_path``, ``sample_idx``, ``gt_label``, ``pred_label``, ``pred_score``,
    and ``gt_score``, the true labels of data sets with several labels per image (1, 0, and -1 for unknown).

    A file that ends in .npz gets an array of each of these names instead, with as many rows as images; nothing in it is
    a pickle, so ``numpy.load`` reads it as it is. One that ends in .parquet gets a table with these columns (pyarrow).

    Works across ranks; the first writes. mmengine's ``DumpResults`` does the same as a pickle.
    """

    default_prefix = 'predictions'  # mmengine warns without one
    FIELDS = ('img_path', 'sample_idx', 'gt_label', 'gt_score', 'pred_label', 'pred_score')

    def __init__(self, file: str):
        super().__init__(collect_device='cpu')
        self.file = file
        if Path(file).suffix == '.parquet':
            try:
                import pyarrow.parquet  # noqa: F401  before hours of testing, not after
            except ImportError as error:
                raise UserError(f'{file}: parquet needs pyarrow. Run: pip install pyarrow') from error

    def process(self, data_batch, data_samples) -> None:
        for sample in data_samples:
            record = {key: sample[key] for key in self.FIELDS if key in sample}
            self.results.append({key: _to_json(value) for key, value in record.items()})

    def compute_metrics(self, results: list) -> dict:
        if Path(self.file).suffix == '.npz':
            names = [name for name in self.FIELDS if results and all(name in record for record in results)]
            arrays = {name: _to_array([record[name] for record in results]) for name in names}
            np.savez_compressed(self.file, **arrays)
            return {}
        if Path(self.file).suffix == '.parquet':
            import pyarrow
            import pyarrow.parquet

            records = [{key: _to_utf8(value) for key, value in record.items()} for record in results]
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), self.file)
            return {}
        with open(self.file, 'w', encoding='utf-8') as file:
            json.dump(results, file, indent=0)
        return {}


def _to_array(column: list) -> np.ndarray:
    """Numbers or text, never objects, which numpy would pickle."""
    if len({np.shape(value) for value in column}) == 1 and np.array(column).dtype.kind in 'biufU':
        return np.array(column)
    return np.array([json.dumps(value) for value in column])  # as with several labels, not as many for each image


def _to_utf8(value):
    """Bytes of a file's name that are no UTF-8 as in the JSON file, \\udcff."""
    return value.encode('utf-8', 'backslashreplace').decode() if isinstance(value, str) else value


def _to_json(value):
    if not hasattr(value, 'tolist'):
        return value
    values = value.tolist()
    return values[0] if isinstance(values, list) and len(values) == 1 else values
