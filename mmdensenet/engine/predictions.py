"""Predictions as a JSON or npz file."""

import json
from pathlib import Path

import numpy as np
from mmengine.evaluator import BaseMetric


class DumpPredictions(BaseMetric):
    """Write a list, one object per image: ``img_path``, ``sample_idx``, ``gt_label``, ``pred_label``, ``pred_score``.

    A file that ends in .npz gets an array of each of these names instead, with as many rows as images; nothing in it is
    a pickle, so ``numpy.load`` reads it as it is.

    Works across ranks; the first writes. mmengine's ``DumpResults`` does the same as a pickle.
    """

    default_prefix = 'predictions'  # mmengine warns without one
    FIELDS = ('img_path', 'sample_idx', 'gt_label', 'pred_label', 'pred_score')

    def __init__(self, file: str):
        super().__init__(collect_device='cpu')
        self.file = file

    def process(self, data_batch, data_samples) -> None:
        for sample in data_samples:
            record = {key: sample[key] for key in self.FIELDS if key in sample}
            self.results.append({key: _to_json(value) for key, value in record.items()})

    def compute_metrics(self, results: list) -> dict:
        if Path(self.file).suffix == '.npz':
            names = [name for name in self.FIELDS if results and all(name in record for record in results)]
            columns = {name: [record[name] for record in results] for name in names}
            for name, column in columns.items():
                if len({np.shape(value) for value in column}) > 1:  # several labels an image, and not as many for each
                    columns[name] = [json.dumps(value) for value in column]
            arrays = {name: np.array(column) for name, column in columns.items()}
            np.savez_compressed(self.file, allow_pickle=False, **arrays)
            return {}
        with open(self.file, 'w', encoding='utf-8') as file:
            json.dump(results, file, indent=0)
        return {}


def _to_json(value):
    if not hasattr(value, 'tolist'):
        return value
    values = value.tolist()
    return values[0] if isinstance(values, list) and len(values) == 1 else values
