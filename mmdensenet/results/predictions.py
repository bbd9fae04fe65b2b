"""Writes and reads predictions as a JSON, npz or parquet file."""

import json
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
from mmengine.evaluator import BaseMetric

from mmdensenet.errors import UserError
from mmdensenet.extras import imported
from mmdensenet.similar import similar_path


class DumpPredictions(BaseMetric):
    """Write a list, one object per image: ``img_path``, ``sample_idx``, ``gt_label``, ``pred_label``, ``pred_score``,
    and ``gt_score``, the true labels of data sets with several labels per image (1, 0, and -1 for unknown). Of a
    checkpoint with decisions also ``logits``, ``calibrated_score``, ``decided_label``, ``conformal_set``, ``ood`` and
    ``ood_score``, as far as they could be fitted, and ``undecided_label``, the labels without an operating point, if
    there are any; ``tta`` of means over test-time augmentations, True.

    Of a model with several tasks these names follow the task's, such as ``colour/pred_label``; an image without a label
    for a task lacks that task's ``gt_label``.

    A file that ends in .npz gets an array of each of these names instead, with as many rows as images; nothing in it is
    a pickle, so ``numpy.load`` reads it as it is. One that ends in .parquet gets a table with these columns (pyarrow).

    Works across ranks; the first writes. mmengine's ``DumpResults`` does the same as a pickle.
    """

    default_prefix = 'predictions'  # mmengine warns without one
    FIELDS = (
        *('img_path', 'sample_idx', 'gt_label', 'gt_score', 'pred_label', 'pred_score', 'logits'),
        *('calibrated_score', 'decided_label', 'undecided_label', 'conformal_set', 'ood', 'ood_score', 'tta'),
    )

    def __init__(self, file: str, tta: bool = False):
        super().__init__(collect_device='cpu')
        self.file = file
        self.more = {'tta': True} if tta else {}
        if Path(file).suffix == '.parquet':
            _parquet(file)  # before hours of testing, not after

    def process(self, data_batch, data_samples) -> None:
        for sample in data_samples:
            self.results.append({key: _to_json(value) for key, value in _fields(sample).items()} | self.more)

    def compute_metrics(self, results: list) -> dict:
        if Path(self.file).suffix == '.npz':
            names = [name for name in results[0] if all(name in record for record in results)] if results else []
            arrays = {name: _to_array([record[name] for record in results]) for name in names}
            np.savez_compressed(self.file, **arrays)
        elif Path(self.file).suffix == '.parquet':
            import pyarrow

            _parquet(self.file).write_table(pyarrow.Table.from_pylist(_of_one_kind(results)), self.file)
        else:
            with open(self.file, 'w', encoding='utf-8') as file:
                json.dump(results, file, indent=0)
        return {}


def _fields(sample: dict) -> dict:
    """The fields of a sample, then those of its tasks, prefixed with the task's name."""
    fields = {key: sample[key] for key in DumpPredictions.FIELDS if key in sample}
    for task, inner in sample.items():
        for key, value in _fields(inner).items() if isinstance(inner, dict) else ():
            # an image is the same for all tasks
            fields.setdefault(key if key in ('img_path', 'sample_idx') else f'{task}/{key}', value)
    return fields


def require_predictions(file: str | Path) -> Path:
    if not Path(file).is_file():
        raise UserError(f'predictions {file} do not exist.{similar_path(file)}')
    return Path(file)


def read_columns(file: str | Path) -> dict[str, Sequence]:
    """The columns of a file of :class:`DumpPredictions`, by name, those that all images have.

    Raises:
        UserError: if there is no such file, it is none of these, or has scores that are no probabilities.
    """
    path = require_predictions(file)
    if path.suffix not in ('.npz', '.json', '.parquet'):
        raise UserError(f'{file} is no file of predictions: they are read from .npz, .json and .parquet, without code.')
    try:
        if path.suffix == '.npz':
            columns = _read_npz(path)
        else:
            is_json = path.suffix == '.json'
            records = json.loads(path.read_text('utf-8')) if is_json else _parquet(path).read_table(path).to_pylist()
            names = [name for name in DumpPredictions.FIELDS if all(name in record for record in records)]
            columns = {name: [record[name] for record in records] for name in names}
        wrong = [i for i, row in enumerate(columns.get('pred_score', ())) if not _are_probabilities(row)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f'{file} is no file of predictions ({error}); `mmdensenet test --out FILE.npz` writes one.'
        ) from error
    if wrong:
        raise UserError(
            f'{file}: the scores of {len(wrong)} of {len(columns["pred_score"])} images are not all numbers from 0 to '
            f'1, the first in row {wrong[0]}. Does the model give NaN, or were logits written?'
        )
    return columns


def _are_probabilities(scores) -> bool:
    scores = np.asarray(scores, dtype=float)
    return bool(((scores >= -1e-6) & (scores <= 1 + 1e-6)).all())  # False for NaN


def _read_npz(path: Path) -> dict[str, Sequence]:
    with np.load(path, allow_pickle=False) as arrays:
        columns = {name: arrays[name] for name in DumpPredictions.FIELDS if name in arrays}
    for name, column in columns.items():
        if column.dtype.kind == 'U' and name != 'img_path':  # JSON, as the number varies
            columns[name] = [json.loads(text) for text in column]
    return columns


def _parquet(file: str | Path) -> ModuleType:
    return imported('pyarrow.parquet', f'{file}: parquet needs pyarrow')


def _to_array(column: list) -> np.ndarray:
    """An array of numbers or text, never of objects, which numpy would pickle."""
    if len({np.shape(value) for value in column}) == 1 and np.array(column).dtype.kind in 'biufU':
        return np.array(column)
    return np.array([json.dumps(value) for value in column])  # several labels, whose number varies


def _of_one_kind(records: list[dict]) -> list[dict]:
    """With lists in the whole column where one image has several labels: a table has no numbers beside lists."""
    lists = {name for record in records for name, value in record.items() if isinstance(value, list)}
    return [
        {
            name: [value] if name in lists and not isinstance(value, list) else _to_utf8(value)
            for name, value in record.items()
        }
        for record in records
    ]


def _to_utf8(value):
    """Bytes of a file's name that are no UTF-8 as in the JSON file, \\udcff."""
    return value.encode('utf-8', 'backslashreplace').decode() if isinstance(value, str) else value


def _to_json(value):
    if not hasattr(value, 'tolist'):
        return value
    values = value.tolist()
    return values[0] if isinstance(values, list) and len(values) == 1 else values
