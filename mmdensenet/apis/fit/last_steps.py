"""Steps 5 to 7: decide on the validation part, judge on the test part once, hand over."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from mmdensenet.apis.models import get_model
from mmdensenet.apis.runner import open_config
from mmdensenet.checkpoints.checkpoint_meta import DECISIONS, hash_weights, write_meta
from mmdensenet.export.ensemble import Ensemble
from mmdensenet.results.decisions import Decisions
from mmdensenet.results.judgement import Judgement
from mmdensenet.results.preparation import preparation
from mmdensenet.results.scores import Scores

from .decide import decide
from .folds import decide_members, judge_folds, out_of_fold
from .hand_over import Folds, hand_over
from .image_names import Unlabelled
from .judge import judge
from .kept_scores import hash_file, kept_scores
from .pictures import stat_of
from .work_folder import WorkFolder, fingerprint, hash_table, plain

#: of the judgement, that are printed
MOST_LINES = 14


@dataclass
class Model:
    """One trained model: ``column`` of its parts in samples.csv, ``checkpoint``, and its scores. The checkpoint of a
    single model has ``decisions``; those of folds are of all models together."""

    column: str
    checkpoint: Path
    decisions: Decisions | None = None
    validation: Scores | None = None
    test: Scores | None = None


def decide_step(
    work: WorkFolder,
    column: str,
    trained: Path,
    options: dict,
    operating_point: str | None,
    report: Callable,
    unread: Sequence[str] = (),
) -> Model:
    """Fit decisions on the validation part, and write the checkpoint with them, ``model.pth``.

    Args:
        unread: columns of samples.csv that the config does not read.
    """
    config = work / 'config.py'
    scores = kept_scores(work, 'validation', config, trained, 'val', options, unread)
    out = work / 'model.pth'
    made_of = dict(
        trained=hash_file(trained), operating_point=operating_point, scores=hash_file(work / 'validation.npz')
    )
    done = work.done('decisions', made_of)
    work.report_changes('decisions', made_of, report)
    if done is not None and out.is_file():
        decisions = Decisions.from_dict(done, str(work / 'decisions.json'))
    else:
        cfg = open_config(str(config))
        model = get_model(cfg, str(trained))
        prepared = preparation(model, (cfg or {}).get('val_dataloader'))
        weights = hash_weights(model.state_dict())
        decisions = decide(scores, operating_point=operating_point, weights=weights, prepared=prepared)
        work.begin('decisions')
        write_meta(trained, DECISIONS, decisions.to_dict(), out)
        work.write('decisions', made_of, decisions.to_dict())
    for line in decisions.lines():
        report(f'  {line}')
    return Model(column, out, decisions, scores)


def decide_folds_step(
    work: WorkFolder,
    columns: Sequence[str],
    trained: Sequence[Path],
    options: Sequence[dict],
    operating_point: str | None,
    report: Callable,
    unread: Sequence[str] = (),
) -> tuple[list[Model], Ensemble]:
    """Score the fold that each model has held out and the one that chose its epoch, and fit all decisions on these."""
    config = work / 'config.py'
    if aside := work.set_aside('model.pth'):
        report(f'  the model of the earlier split is now {aside}')
    models = []
    for column, file, option in zip(columns, trained, options):
        validation, test = (
            kept_scores(work, f'{name}_{column}', config, file, part, option, unread)
            for name, part in (('validation', 'val'), ('test', 'test'))
        )
        models.append(Model(column, file, validation=validation, test=test))
    made_of = dict(operating_point=operating_point, scores=_hashes(work, models))
    work.report_changes('decisions', made_of, report)
    found = work.done('decisions', made_of)
    if found is None:
        temperatures, decisions = decide_members(
            [model.test for model in models],
            validation=[model.validation for model in models],
            operating_point=operating_point,
        )
        found = dict(temperatures=temperatures, decisions=decisions.to_dict())
        work.write('decisions', made_of, found)
    decisions = Decisions.from_dict(found['decisions'], str(work / 'decisions.json'))
    if set(decisions.temperatures) != {None}:
        report(f'  temperature of the {len(models)} models: {", ".join(f"{t:.3g}" for t in found["temperatures"])}')
    for line in decisions.lines():
        report(f'  {line}')
    return models, Ensemble(tuple(map(str, trained)), tuple(found['temperatures']), decisions, tuple(options))


def judge_step(
    work: WorkFolder,
    model: Model,
    options: dict,
    subgroups: Sequence[str],
    report: Callable,
    unread: Sequence[str] = (),
) -> Judgement:
    """Judge on the test part."""
    model.test = kept_scores(work, 'test', work / 'config.py', model.checkpoint, 'test', options, unread)
    made_of = dict(scores=[hash_file(work / 'test.npz')], decisions=[hash_file(model.checkpoint)])
    rows = rows_of(work, model)
    made = partial(judge, model.test, model.decisions, groups=_groups(work, rows))
    return _judged(work, made_of, subgroups, rows, made, report)


def judge_folds_step(
    work: WorkFolder,
    models: Sequence[Model],
    ensemble: Ensemble,
    operating_point: str | None,
    subgroups: Sequence[str],
    report: Callable,
) -> tuple[Judgement, Folds]:
    """Judge all images, each by the model that has not seen it, decided as the other folds say."""
    rows = np.concatenate([rows_of(work, model) for model in models])
    parts, validation = ([getattr(model, part) for model in models] for part in ('test', 'validation'))
    found = out_of_fold(parts, validation=validation, operating_point=operating_point).numbered(rows)
    found = replace(found, scores=replace(found.scores, groups=_groups(work, found.scores.index)))
    made_of = dict(scores=_hashes(work, models), decisions=[fingerprint(ensemble.decisions.to_dict())])
    judgement = _judged(work, made_of, subgroups, found.scores.index, partial(judge_folds, found), report)
    return judgement, Folds(ensemble, found)


def _hashes(work: WorkFolder, models: Sequence[Model]) -> list[str]:
    return [hash_file(work / f'{part}_{model.column}.npz') for part in ('test', 'validation') for model in models]


def _judged(
    work: WorkFolder,
    made_of: dict,
    subgroups: Sequence[str],
    rows: np.ndarray,
    made: Callable[..., Judgement],
    report: Callable,
) -> Judgement:
    """The judgement as it was if it is made of the same, else as ``made`` gives it for the subgroups of the rows."""
    made_of |= dict(subgroups=list(subgroups), samples=hash_table(work / 'samples.csv'))
    done = work.done('judgement', made_of)
    work.report_changes('judgement', made_of, report)
    if done is None:
        columns = _columns(work, subgroups)
        found = made(subgroups={name: [values[i] for i in rows] for name, values in columns.items()})
        work.write('judgement', made_of, dict(figures=found.to_dict(), lines=found.lines()))
    else:
        found = Judgement.from_dict(done['figures'])
    told = [line for line in found.lines() if not line.startswith('Left out: ')]  # step 5 has said that
    for line in told[:MOST_LINES]:
        report(f'  {line}')
    if len(told) > MOST_LINES:
        report(f'  {len(told) - MOST_LINES} lines more in {work / "judgement.json"}')
    return found


def hand_over_step(
    work: WorkFolder,
    model: Model,
    judgement: Judgement | None,
    predict: Unlabelled | None,
    report: Callable,
    *,
    folds: Folds | None = None,
    image_column: str = 'image',
    title: str | None = None,
) -> dict[str, str]:
    """Everything that goes to others.

    Args:
        model: of folds the first.
        predict: images without labels, see :func:`.image_names.named_images`.
        folds, image_column, title: see :func:`.hand_over.hand_over`.

    Returns:
        The files by name.
    """
    checkpoints = [model.checkpoint] if folds is None else folds.ensemble.checkpoints
    pairs = None if predict is None else [[name, path, stat_of(path)] for name, path in predict.pairs]
    made_of = dict(
        checkpoints=[hash_file(Path(file)) for file in checkpoints],
        judgement=hash_file(work / 'judgement.json'),
        predict=None if predict is None else fingerprint(predict.column, pairs),
        image_column=image_column,
        title=title,
    )
    before = work.read('hand_over')
    if predict is None and before is not None and dict(before['made_of'], predict=None) == plain(made_of):
        made_of['predict'] = before['made_of']['predict']  # the earlier predictions are of this model, too
    done = work.done('hand_over', made_of)
    work.report_changes('hand_over', made_of, report)
    if done is not None and all((work / name).is_file() for name in done['files'].values()):
        report('  as before')
    else:
        work.begin('hand_over')
        if predict is None and (aside := work.set_aside('submission.csv')):
            report(f'  the predictions of an earlier model are now in {aside}')
        handed = hand_over(
            work.path,
            work / 'config.py',
            model.checkpoint,
            test=model.test,
            validation=model.validation,
            folds=folds,
            judgement=judgement,
            image_column=image_column,
            predict=predict,
            title=title,
            report=lambda line: report(f'  {line}'),
        )
        files = {name: Path(file).relative_to(work.path).as_posix() for name, file in handed.files.items()}
        done = work.write('hand_over', made_of, dict(files=files, suspicious=handed.suspicious))
    for name, file in done['files'].items():
        report(f'  {name.replace("_", " ")}: {work / file}')
    return {name: str(work / file) for name, file in done['files'].items()}


def rows_of(work: WorkFolder, model: Model) -> np.ndarray:
    """(N,) rows of samples.csv, from 0, of the scored images of a test part, in their order."""
    parts = _columns(work, [model.column])[model.column]
    return np.flatnonzero([part == 'test' for part in parts])[model.test.index]


def _groups(work: WorkFolder, rows: np.ndarray) -> np.ndarray | None:
    """(N,) numbers of the groups of these rows; None where each image has one for itself."""
    names = _columns(work, ['group'])['group']
    groups = np.unique([names[i] for i in rows], return_inverse=True)[1].ravel()
    return groups if len(set(groups.tolist())) < len(groups) else None


def _columns(work: WorkFolder, names: Sequence[str]) -> dict[str, list[str]]:
    """Columns of samples.csv."""
    with (work / 'samples.csv').open(encoding='utf-8', newline='') as lines:
        rows = list(csv.DictReader(lines))
    return {name: [row[name] for row in rows] for name in names}
