"""Step 7, hand over: everything that goes to others, and a folder that explains itself."""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mmdensenet.apis.export import export_model
from mmdensenet.apis.image_lists import expand, texts_of_list
from mmdensenet.apis.inference import Inferencer, pipeline_of
from mmdensenet.apis.report import make_report, open_subject
from mmdensenet.apis.scoring import run_test
from mmdensenet.apis.study_facts import study_facts
from mmdensenet.errors import UserError
from mmdensenet.export.files import NEEDS, require_packages
from mmdensenet.export.resample import NotInGraphError, resizes_and_crops
from mmdensenet.results.bootstrap import Resampling
from mmdensenet.results.calibration import logits_of
from mmdensenet.results.class_metrics import compute_metrics
from mmdensenet.results.decided import decisions_of
from mmdensenet.results.decisions import Decisions
from mmdensenet.results.scores import Scores
from mmdensenet.results.suspicious import find_suspicious, write_suspicious

from .judge import judge
from .model_card import figures_of, write_model_card
from .readme import write_readme

#: largest difference of a score between the ONNX file and the model
TOLERANCE = 1e-3


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
    samples: str | Path | None = None,
    predict: str | Path | Sequence | None = None,
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
        samples: samples.csv, with the columns ``image`` (as in the table) and ``file``; by default that of the work
            directory. Without it images are called by their files.
        predict: images without labels, for a table of their predictions: a folder, a table, or pairs (name, path).
        names: put the names of images into the report, too.
        known: sentences for the model card, by the names of :func:`mmdensenet.apis.study_facts.study_facts`.
        report: called with a line on what is done.

    Raises:
        UserError: for what the user can put right; and if the ONNX file does not give what the model gives.
    """
    folder, config, checkpoint = Path(work_dir), str(config), str(checkpoint)
    require_hand_over(onnx)
    cfg, model, dataset = open_subject(config, checkpoint, device, None)
    decisions = decisions_of(model, checkpoint)
    report('report and tables')
    scores, _ = run_test(cfg, checkpoint, model, dataset, test)
    called = names_of_images(Path(samples) if samples else folder / 'samples.csv')
    done = Handed()
    done.files['predictions'] = folder / 'predictions.csv'
    write_predictions(done.files['predictions'], [called(path) for path in scores.paths], scores, decisions)
    if validation is not None:
        found = find_suspicious(validation)
        done.suspicious, done.files['suspicious'] = len(found), folder / 'suspicious.csv'
        write_suspicious(done.files['suspicious'], validation, found, [called(path) for path in validation.paths])
    done.files['report'] = folder / 'report.html'
    log = folder / 'training'
    options = dict(predictions=scores, suspicious=validation, names=names, bootstrap=bootstrap)
    options['work_dir'] = str(log) if log.is_dir() else None
    make_report(
        config, checkpoint, done.files['report'], gallery=gallery, measure=False, device=device, seed=seed, **options
    )
    if onnx:
        report('ONNX file')
        done.files['onnx'] = folder / 'model.onnx'
        exported = export_model(
            config, checkpoint, done.files['onnx'], dynamic=True, with_preprocess=_fits_graph(cfg), check=50
        )
        done.onnx_difference = exported.difference
        if not exported.difference <= TOLERANCE:
            raise UserError(
                f"{done.files['onnx']}: its scores differ by up to {exported.difference:.2g} from the model's."
            )
    if predict is not None:
        report('predictions of images without labels')
        done.files['submission'] = folder / 'submission.csv'
        write_submission(done.files['submission'], Inferencer(model, device=device), predict)
    overall, _ = compute_metrics(scores, Resampling(len(scores), scores.groups, bootstrap, seed))
    judged = _judged(folder, scores, decisions, bootstrap)
    if judged:
        metrics = ', '.join(judged['figures']['overall'])
        known = dict(performance=' '.join(judged['lines']), metrics=f'{metrics}.') | dict(known or {})
    facts = study_facts(cfg, model, checkpoint, scores, overall, bootstrap, decisions, known)
    if done.suspicious is not None:
        facts['suspicious'] = f'{done.suspicious} labels of {len(validation)} images are contradicted by the model.'
    done.files['model_card'] = folder / 'model_card.md'
    images = judged['figures']['images'] if judged else len(scores)
    write_model_card(done.files['model_card'], facts, figures_of(overall, judged), images, judged, onnx)
    done.files['readme'] = folder / 'README.txt'
    write_readme(folder, Path(config), Path(checkpoint), decisions)
    return done


def _judged(folder: Path, scores: Scores, decisions: Decisions | None, resamplings: int) -> dict:
    """What step 6 said, ``figures`` and ``lines``, or is said now; {} without decisions."""
    file = folder / 'judgement.json'
    if file.is_file():
        return json.loads(file.read_text(encoding='utf-8'))['result']
    if decisions is None:
        return {}
    found = judge(scores, decisions, resamplings=resamplings)
    return dict(figures=found.to_dict(), lines=found.lines())


def names_of_images(samples: Path) -> Callable[[str], str]:
    """What gives an image's name in its table for its path; without the file, the path's last part.

    Raises:
        UserError: by what it gives, for a path that is not in the file.
    """
    if not samples.is_file():
        return lambda path: Path(path).name
    with samples.open(encoding='utf-8', newline='') as lines:
        by_file = {row['file'].replace('\\', '/'): row['image'] for row in csv.DictReader(lines)}

    def find(path: str) -> str:
        parts = Path(path).parts
        for start in range(len(parts)):  # the longest end of the path that is there
            name = by_file.get('/'.join(parts[start:]))
            if name is not None:
                return name
        raise UserError(f'{path} is not in {samples}: it is of other images.')

    return find


def write_predictions(file: Path, images: Sequence[str], scores: Scores, decisions: Decisions | None) -> None:
    """A table: the image, and a column for each class or label with its probability, calibrated where that is known."""
    probabilities = scores.scores if decisions is None else decisions.probabilities(logits_of(scores))
    _write_table(file, images, scores.classes, probabilities)


def write_submission(file: Path, inferencer: Inferencer, images: str | Path | Sequence) -> None:
    """As :func:`write_predictions` for images without labels, called as in the folder or the table that they are from.

    Raises:
        UserError: if there are none, or one cannot be read.
    """
    pairs = called_images(images)
    results = inferencer([path for _, path in pairs])
    names = inferencer.classes or [str(i) for i in range(len(results[0]['pred_scores']))]
    scores = np.stack([result['pred_scores'] for result in results])
    _write_table(file, [name for name, _ in pairs], names, scores)


def called_images(images: str | Path | Sequence) -> list[tuple[str, str]]:
    """(name, path) of the images of a folder, a table or list, a file, or several of these; pairs stay as they are."""
    if isinstance(images, (str, Path)):
        paths = [str(path) for path in expand(images)]
        inside = Path(images).expanduser()
        if inside.is_dir():
            return [(Path(path).relative_to(inside).as_posix(), path) for path in paths]
        return list(zip(texts_of_list(images) or [Path(path).name for path in paths], paths, strict=True))
    return [pair for item in images for pair in ([item] if isinstance(item, tuple) else called_images(item))]


def _write_table(file: Path, images: Sequence[str], classes: Sequence[str], values: np.ndarray) -> None:
    with file.open('w', encoding='utf-8', newline='') as out:
        writer = csv.writer(out, lineterminator='\n')
        writer.writerow(['image', *classes])
        for image, row in zip(images, values, strict=True):
            writer.writerow([image, *(f'{value:.6f}' for value in row.tolist())])


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
