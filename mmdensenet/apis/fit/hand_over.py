"""Step 7, hand over: everything that goes to others, and a folder that explains itself."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from mmengine.config import Config

from mmdensenet.apis.export import export_model
from mmdensenet.apis.exported import ExportedInferencer
from mmdensenet.apis.inference import Inferencer, pipeline_of
from mmdensenet.apis.report import Members, make_report, open_subject
from mmdensenet.apis.runner import config_name
from mmdensenet.apis.scoring import run_test
from mmdensenet.apis.study_facts import TEST_PART, study_facts
from mmdensenet.errors import UserError
from mmdensenet.export.ensemble import Ensemble
from mmdensenet.export.files import NEEDS, require_packages
from mmdensenet.export.resample import NotInGraphError, resizes_and_crops
from mmdensenet.results.bootstrap import Resampling
from mmdensenet.results.class_metrics import compute_metrics
from mmdensenet.results.decided import decided_scores, decisions_of
from mmdensenet.results.judgement import Judgement
from mmdensenet.results.scores import Scores
from mmdensenet.results.suspicious import find_suspicious, write_suspicious

from .folds import OutOfFold, judge_folds
from .image_names import Unlabelled, names_of_images
from .judge import facts_of, judge
from .model_card import figures_of, write_model_card
from .prediction_tables import write_submission, write_table
from .readme import write_readme

#: largest difference of a score between the ONNX file and the model
TOLERANCE = 1e-3
#: images on which the ONNX file is compared with the model
CHECKED = 50


@dataclass(frozen=True)
class Folds:
    """A cross-validation: its ``ensemble``, and the images that its models have held out, in the order of the rows of
    samples.csv, whose numbers are their index."""

    ensemble: Ensemble
    found: OutOfFold


@dataclass
class Handed:
    """What was written, by name: ``report``, ``onnx``, ``predictions``, ``model_card``, ``suspicious``, ``submission``,
    ``readme``; and how many labels are suspicious, and the largest difference between ONNX file and model."""

    files: dict[str, Path] = field(default_factory=dict)
    suspicious: int | None = None
    onnx_difference: float = 0.0


def require_hand_over(onnx: bool = True) -> None:
    """Before hours of training, not after.

    Raises:
        UserError: naming the package that is missing.
    """
    if onnx:
        require_packages(*NEEDS['onnx'])


def hand_over(
    work_dir: str | Path,
    config: str | Path,
    checkpoint: str | Path,
    *,
    test: Scores | None = None,
    validation: Scores | None = None,
    folds: Folds | None = None,
    judgement: Judgement | None = None,
    samples: str | Path | None = None,
    image_column: str = 'image',
    predict: Unlabelled | str | Path | Sequence | None = None,
    title: str | None = None,
    names: bool = False,
    known: Mapping[str, str] | None = None,
    onnx: bool = True,
    bootstrap: int = 1000,
    gallery: int = 12,
    device: str | None = None,
    seed: int = 0,
    report: Callable[[str], None] = lambda line: None,
) -> Handed:
    """Write report, ONNX file, predictions, model card, suspicious labels and README.txt into the work directory.

    Names of images stand in the tables only, as in the table that they are from; report, exported file and model card
    have neither them nor groups nor absolute paths.

    Args:
        config, checkpoint: of the model; the checkpoint has its decisions.
        test: scores of the test part, uncalibrated, with logits where there are; by default the test is run.
        validation: scores of images that the model was not trained on, of which suspicious labels are listed.
        folds: of a cross-validation, in the place of ``test`` and ``validation``: its images, each with what the model
            says that has not seen it, and the ensemble, which the ONNX file is and ``predict`` asks. ``checkpoint`` is
            that of the first model, whose architecture the report describes.
        judgement: of the test part; by default it is judged here where there are decisions.
        samples: samples.csv, with the columns ``image`` (as in the table) and ``file``; by default that of the work
            directory. Without it images are called by their files.
        image_column: what tables call their first column.
        predict: images without labels, for a table of their predictions: a folder, a table, or pairs (name, path).
        title: what the report and the model card are about; by default the config's name.
        names: put the names of images into the report, too.
        known: sentences for the model card, by the names of :func:`mmdensenet.apis.study_facts.study_facts`.
        report: called with a line on what is done.

    Raises:
        UserError: for what the user can put right; and if the ONNX file does not give what the model gives.
    """
    folder, config, checkpoint = Path(work_dir), str(config), str(checkpoint)
    require_hand_over(onnx or folds is not None)
    whole = None if folds is None else {f'test_dataloader.dataset.{key}': None for key in ('split', 'split_column')}
    cfg, model, dataset = open_subject(config, checkpoint, device, whole)
    report('report and tables')
    if folds is None:
        decisions = decisions_of(model, checkpoint)
        scores, _ = run_test(cfg, checkpoint, model, dataset, test)
        decided = None if decisions is None else decisions.apply_to(scores)
        tested = TEST_PART
    else:
        decisions, decided, tested = folds.ensemble.decisions, folds.found.decided, 'held-out folds'
        scores, _ = run_test(cfg, checkpoint, model, dataset, folds.found.scores)
        validation = scores
    if judgement is None and decisions is not None:
        judgement = (
            judge_folds(folds.found, resamplings=bootstrap)
            if folds
            else judge(scores, decisions, resamplings=bootstrap)
        )
    root = (getattr(dataset, 'data_prefix', None) or {}).get('img_path')
    called = names_of_images(Path(samples) if samples else folder / 'samples.csv', root)
    title = title or config_name(cfg)
    done = Handed()
    done.files['predictions'] = folder / 'predictions.csv'
    probabilities = scores.scores if decided is None else decided.probabilities
    write_table(
        done.files['predictions'], image_column, [called(path) for path in scores.paths], scores.classes, probabilities
    )
    if validation is not None:
        found = find_suspicious(validation)
        done.suspicious, done.files['suspicious'] = len(found), folder / 'suspicious.csv'
        write_suspicious(done.files['suspicious'], validation, found, [called(path) for path in validation.paths])
    done.files['report'] = folder / 'report.html'
    log = folder / ('training' if folds is None else 'training_fold0')
    options = dict(predictions=scores, suspicious=validation, names=names, bootstrap=bootstrap, judgement=judgement)
    options |= dict(work_dir=str(log) if log.is_dir() else None, title=title, cfg_options=whole)
    if folds is not None:
        options['members'] = Members(
            folds.ensemble.checkpoints,
            folds.found.model,
            decisions,
            decided,
            folds.found.undecided,
            folds.ensemble.options,
        )
    make_report(
        config, checkpoint, done.files['report'], gallery=gallery, measure=False, device=device, seed=seed, **options
    )
    if onnx or folds is not None:
        report('ONNX file')
        done.files['onnx'] = folder / 'model.onnx'
        _export(done, cfg, config, checkpoint, None if folds is None else folds.ensemble, report)
    if predict is not None:
        report('predictions of images without labels')
        done.files['submission'] = folder / 'submission.csv'
        inferencer = Inferencer(model, device=device) if folds is None else ExportedInferencer(done.files['onnx'])
        write_submission(done.files['submission'], inferencer, predict, image_column)
    overall = []
    if judgement is None:
        overall, _ = compute_metrics(scores, Resampling(len(scores), scores.groups, bootstrap, seed))
    else:
        known = facts_of(judgement, bootstrap, tested) | dict(known or {})
    if folds is not None:
        scores = decided_scores(scores, decided, folds.found.undecided)
    facts = study_facts(cfg, model, checkpoint, scores, overall, bootstrap, decisions, known, tested, decided)
    if folds is not None:
        facts |= _facts_of_folds(folds, facts) | dict(known or {})
    if done.suspicious is not None:
        facts['suspicious'] = f'Labels that the model contradicts: {done.suspicious}, of {len(validation)} images.'
    done.files['model_card'] = folder / 'model_card.md'
    write_model_card(
        done.files['model_card'], facts, figures_of(overall, judgement), len(scores), judgement, onnx, title, tested
    )
    done.files['readme'] = folder / 'README.txt'
    write_readme(folder, Path(config), Path(checkpoint), decisions, None if folds is None else folds.found.models)
    return done


def _export(done: Handed, cfg: Config, config: str, checkpoint: str, ensemble: Ensemble | None, report) -> None:
    file = done.files['onnx']
    graph = _fits_graph(cfg)
    exported = export_model(
        config, checkpoint, file, dynamic=True, with_preprocess=graph, check=CHECKED, ensemble=ensemble
    )
    done.onnx_difference = exported.difference
    if not exported.difference <= TOLERANCE:
        raise UserError(f"{file}: its scores differ by up to {exported.difference:.2g} from the model's.")
    same = [share for share in (exported.agreement, exported.same_sets, exported.same_flags) if share is not None]
    if min(same) < 1:
        report(f'  of {exported.images} images {1 - min(same):.1%} are decided otherwise, at thresholds, by rounding')


def _facts_of_folds(folds: Folds, facts: Mapping[str, str]) -> dict[str, str]:
    """Return the facts of a cross-validation that differ from those of a split."""
    counts = np.bincount(folds.found.model)
    grouped = folds.found.scores.groups is not None
    found = dict(
        partitions=f'Cross-validation: {len(counts)} folds of {counts.min():,} to {counts.max():,} images. Each is '
        'held out by one model, whose epoch the next fold chose and which was trained on the others.',
        partition_level='Groups, such as patients: each is in one fold only.'
        if grouped
        else 'Images; no group is known.',
        ensembling=f'The mean of the probabilities of the {len(counts)} models; the figures are of single '
        'models, each on the fold that it has not seen.',
    )
    ensemble = folds.ensemble
    known = [f'{t:.3g}' for t, fitted in zip(ensemble.temperatures, ensemble.decisions.temperatures) if fitted]
    found['output'] = 'The mean of the probabilities of the models, ' + (
        f'whose logits are divided by a temperature of {", ".join(known)}, fitted on {ensemble.decisions.samples:,} '
        f'images ({ensemble.decisions.part}).'
        if known
        else 'uncalibrated.'
    )
    if 'cutoffs' in facts:
        found['cutoffs'] = facts['cutoffs'].replace(' before the test', '') + (
            ' The figures are at those that the other folds give.' if 'Chosen' in facts['cutoffs'] else ''
        )
    return found


def _fits_graph(cfg) -> bool:
    """Whether the graph itself can prepare images: 8 bits, and steps that it has; else the file describes the steps."""
    pipeline = pipeline_of(cfg)
    if any('LoadGreyImage' in str(step['type']) for step in pipeline):
        return False
    try:
        resizes_and_crops(pipeline)
    except NotInGraphError:
        return False
    return True
