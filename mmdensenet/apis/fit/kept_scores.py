"""Scores of a part, kept in the work directory: a test of many images is not done twice."""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmdensenet.apis.scoring import score_part
from mmdensenet.results.scores import Scores

from .work_folder import WorkFolder, hash_table, write_bytes

_ARRAYS = ('scores', 'truth', 'index', 'groups', 'logits')


def kept_scores(
    work: WorkFolder,
    name: str,
    config: Path,
    checkpoint: Path,
    part: str,
    options: dict,
    without: Sequence[str] = (),
) -> Scores:
    """Return the scores of a part ('val' or 'test') of a config, kept in ``NAME.npz`` while the inputs stay the same.

    Args:
        without: columns of samples.csv on which the scores do not depend.

    Raises:
        UserError: as :func:`mmdensenet.apis.scoring.score_part` does.
    """
    made_of = dict(config=hash_file(config), checkpoint=hash_file(checkpoint), part=part, options=options)
    made_of['samples'] = hash_table(work / 'samples.csv', without)
    file = work / f'{name}.npz'
    if work.done(name, made_of) is not None and file.is_file():
        return _read(file)
    work.begin(name)
    scores = score_part(str(config), str(checkpoint), part, options)
    out = io.BytesIO()
    arrays = {key: getattr(scores, key) for key in _ARRAYS if getattr(scores, key) is not None}
    np.savez(out, **arrays, paths=scores.paths, classes=scores.classes, threshold=scores.threshold)
    write_bytes(file, out.getvalue())
    work.write(name, made_of, dict(images=len(scores)))
    return scores


def _read(file: Path) -> Scores:
    with np.load(file, allow_pickle=False) as found:
        arrays = {key: found[key] for key in _ARRAYS if key in found}
        return Scores(
            **arrays,
            paths=found['paths'].tolist(),
            classes=found['classes'].tolist(),
            threshold=float(found['threshold']),
        )


def hash_file(path: Path) -> str:
    with path.open('rb') as file:
        return '#' + hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=12)).hexdigest()
