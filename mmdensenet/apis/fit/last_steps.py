"""Steps 5 to 7: decide on the validation part, judge on the test part once, hand over."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mmdensenet.apis.inference import Inferencer
from mmdensenet.apis.models import get_model
from mmdensenet.apis.runner import open_config
from mmdensenet.checkpoints.checkpoint_meta import DECISIONS, hash_weights, write_meta
from mmdensenet.datasets.file_index import FileIndex
from mmdensenet.datasets.table import read_table
from mmdensenet.errors import UserError
from mmdensenet.results.calibration import logits_of
from mmdensenet.results.decisions import Decided, Decisions
from mmdensenet.results.scores import Scores, join_scores

from .columns import find_path_column
from .decide import decide
from .hand_over import called_images, hand_over, write_predictions, write_submission
from .judge import judge, judge_decided
from .kept_scores import hash_file, kept_scores
from .labelled_table import is_table
from .pictures import stat_of
from .work_folder import WorkFolder, fingerprint

#: of the judgement, that are printed
MOST_LINES = 14


@dataclass
class Model:
    """One trained model: ``column`` of its parts in samples.csv, ``checkpoint`` with its decisions, its scores."""

    column: str
    checkpoint: Path
    decisions: Decisions
    validation: Scores
    test: Scores | None = None


def decide_step(
    work: WorkFolder, column: str, trained: Path, options: dict, operating_point: str | None, report: Callable
) -> Model:
    """Fit decisions on the validation part, and write the checkpoint with them: ``model.pth``, ``model_fold0.pth``."""
    config = work / 'config.py'
    end = '' if column == 'split' else f'_{column}'
    scores = kept_scores(work, f'validation{end}', config, trained, 'val', options)
    out = work / f'model{end}.pth'
    made_of = dict(
        trained=hash_file(trained), operating_point=operating_point, scores=hash_file(work / f'validation{end}.npz')
    )
    done = work.done(f'decisions{end}', made_of)
    for line in work.changed(f'decisions{end}', made_of):
        report(f'  changed since the last call: {line}')
    if done is not None and out.is_file():
        decisions = Decisions.from_dict(done, str(work / f'decisions{end}.json'))
    else:
        weights = hash_weights(get_model(open_config(str(config)), str(trained)).state_dict())
        decisions = decide(scores, operating_point=operating_point, weights=weights)
        write_meta(trained, DECISIONS, decisions.to_dict(), out)
        work.write(f'decisions{end}', made_of, decisions.to_dict())
    for line in decisions.lines():
        report(f'  {line}')
    return Model(column, out, decisions, scores)


def judge_step(
    work: WorkFolder, models: Sequence[Model], options: Sequence[dict], subgroups: Sequence[str], report: Callable
) -> dict:
    """Judge on the test part; of folds on all images, each as the model decides that has not seen it."""
    config = work / 'config.py'
    for model, option in zip(models, options):
        end = '' if model.column == 'split' else f'_{model.column}'
        model.test = kept_scores(work, f'test{end}', config, model.checkpoint, 'test', option)
    made_of = dict(
        scores=[hash_file(work / f'test{"" if m.column == "split" else f"_{m.column}"}.npz') for m in models],
        decisions=[hash_file(m.checkpoint) for m in models],
        subgroups=list(subgroups),
    )
    done = work.done('judgement', made_of)
    if done is None:
        rows = rows_of(work, models)
        of_subgroups = {name: [row[name] for row in rows] for name in subgroups}
        groups = np.unique([row['group'] for row in rows], return_inverse=True)[1].ravel()
        groups = groups if len(set(groups.tolist())) < len(groups) else None  # each image for itself
        if len(models) == 1:
            found = judge(models[0].test, models[0].decisions, groups=groups, subgroups=of_subgroups)
        else:
            scores, decided = out_of_fold(models)
            lacking = {
                key: sorted({name for model in models for name in getattr(model.decisions, key)})
                for key in ('undecided', 'without_sets')
            }
            found = judge_decided(
                replace(scores, groups=groups),
                decided,
                **lacking,
                subgroups=of_subgroups,
                caveats=[f'Each image is decided by the one of {len(models)} models that has not seen it.'],
            )
        done = dict(figures=found.to_dict(), lines=found.lines())
        work.write('judgement', made_of, done)
    told = [line for line in done['lines'] if not line.startswith('Left out: ')]  # step 5 has said that
    for line in told[:MOST_LINES]:
        report(f'  {line}')
    if len(told) > MOST_LINES:
        report(f'  {len(told) - MOST_LINES} lines more in {work / "judgement.json"}')
    return done['figures']


def hand_over_step(
    work: WorkFolder, models: Sequence[Model], predict: list[tuple[str, str]] | None, report: Callable
) -> dict[str, str]:
    """Everything that goes to others, of folds the first one's model; predictions of folds are of all images, each by
    the model that has not seen it, and those of images without labels are the mean of all models.

    Args:
        predict: images without labels, see :func:`named_images`.

    Returns:
        The files by name.
    """
    model = models[0]
    made_of = dict(
        checkpoints=[hash_file(each.checkpoint) for each in models],
        scores=hash_file(work / f'{"test" if model.column == "split" else f"test_{model.column}"}.npz'),
        judgement=hash_file(work / 'judgement.json'),
        predict=None if predict is None else fingerprint([[name, path, stat_of(path)] for name, path in predict]),
    )
    done = work.done('hand_over', made_of)
    if done is not None and all((work / name).is_file() for name in done['files'].values()):
        report('  as before')
    else:
        handed = hand_over(
            work.path,
            work / 'config.py',
            model.checkpoint,
            test=model.test,
            validation=model.validation if len(models) == 1 else out_of_fold(models)[0],
            predict=predict if len(models) == 1 else None,
            report=lambda line: report(f'  {line}'),
        )
        if len(models) > 1:
            _predictions_of_folds(work, models, handed.files, predict, report)
        files = {name: Path(file).relative_to(work.path).as_posix() for name, file in handed.files.items()}
        done = work.write('hand_over', made_of, dict(files=files, suspicious=handed.suspicious))
    for name, file in done['files'].items():
        report(f'  {name.replace("_", " ")}: {work / file}')
    return {name: str(work / file) for name, file in done['files'].items()}


def _predictions_of_folds(work: WorkFolder, models: Sequence[Model], files: dict, predict, report) -> None:
    scores, decided = out_of_fold(models)
    called = [row['image'] for row in rows_of(work, models)]
    write_predictions(files['predictions'], called, replace(scores, scores=decided.probabilities), None)
    report(f'  report, ONNX file and model card are of the model of {models[0].column}')
    if predict is not None:
        files['submission'] = work / 'submission.csv'
        ensemble = Ensemble([Inferencer(str(work / 'config.py'), str(model.checkpoint)) for model in models])
        write_submission(files['submission'], ensemble, predict)
        report(f'  images without labels are predicted by the mean of {len(models)} models')


class Ensemble:
    """Several inferencers as one: the mean of their (calibrated) scores."""

    def __init__(self, inferencers: Sequence[Inferencer]):
        self.inferencers, self.classes = inferencers, inferencers[0].classes

    def __call__(self, images: list[str]) -> list[dict]:
        results = [inferencer(images) for inferencer in self.inferencers]
        return [dict(pred_scores=np.mean([each['pred_scores'] for each in of], axis=0)) for of in zip(*results)]


def named_images(predict: str | Path, images: str | Path | None, column: str | None = None) -> list[tuple[str, str]]:
    """(name, path) of each image of a folder, or of each row of a table, found as those of the labelled table are.

    Args:
        column: of the paths, in the labelled table; that of a table which has it, too.

    Raises:
        UserError: for a row without an image: a submission has to have all.
    """
    if not Path(predict).exists():
        raise UserError(f'predict={predict} does not exist: give a folder or a table of images.')
    if not is_table(str(predict)):
        return called_images(predict)
    table = read_table(predict)
    index = FileIndex(images or Path(predict).parent)
    column, _ = find_path_column(table, index, column if column in table.header else None)
    pairs = []
    for i, row in enumerate(table.rows):
        file = index.find(row[column])
        if file is None:
            raise UserError(f'{table.where(i)}: {row[column]} is not below {index.root}.')
        pairs.append((row[column], str(index.root / file)))
    return pairs


def out_of_fold(models: Sequence[Model]) -> tuple[Scores, Decided]:
    """The test scores of the models of folds, one after the other, and what each one's model decides of its own."""
    decided = [model.decisions.apply(logits_of(model.test)) for model in models]

    def joined(name: str) -> np.ndarray | None:
        values = [getattr(each, name) for each in decided]
        return None if any(value is None for value in values) else np.concatenate(values)

    together = Decided(**{name: joined(name) for name in Decided.__dataclass_fields__})
    return join_scores([model.test for model in models]), together


def rows_of(work: WorkFolder, models: Sequence[Model]) -> list[dict[str, str]]:
    """The rows of samples.csv of the scored images, in their order."""
    with (work / 'samples.csv').open(encoding='utf-8', newline='') as lines:
        rows = list(csv.DictReader(lines))
    found = []
    for model in models:
        of_part = [row for row in rows if row[model.column] == 'test']
        found += [of_part[i] for i in model.test.index]
    return found
