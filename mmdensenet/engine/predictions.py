"""Predictions as a JSON file."""

import json

from mmengine.evaluator import BaseMetric


class DumpPredictions(BaseMetric):
    """Write a list, one object per image: ``img_path``, ``sample_idx``, ``gt_label``, ``pred_label``, ``pred_score``.

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
        with open(self.file, 'w', encoding='utf-8') as file:
            json.dump(results, file, indent=0)
        return {}


def _to_json(value):
    if not hasattr(value, 'tolist'):
        return value
    values = value.tolist()
    return values[0] if isinstance(values, list) and len(values) == 1 else values
