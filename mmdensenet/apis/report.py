"""The report on a checkpoint, from the test to the page."""

import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmpretrain.registry import DATASETS

from mmdensenet.analysis.cam import colour_scale
from mmdensenet.analysis.denormalise import is_bgr
from mmdensenet.analysis.input_shape import input_shape
from mmdensenet.analysis.report import plots
from mmdensenet.analysis.report.cards import data_card, model_card
from mmdensenet.analysis.report.cost_section import cost_section
from mmdensenet.analysis.report.decisions_section import decisions_section
from mmdensenet.analysis.report.gallery import make_gallery, make_suspects
from mmdensenet.analysis.report.page import number, render
from mmdensenet.analysis.report.paths import short_path, without_folders, without_paths
from mmdensenet.analysis.report.results_section import results_section
from mmdensenet.datasets.labels import unlabelled_parts
from mmdensenet.datasets.wrappers import first_pipeline
from mmdensenet.errors import UserError
from mmdensenet.output import output_file
from mmdensenet.results.bootstrap import Resampling
from mmdensenet.results.decided import decided_scores, decisions_of
from mmdensenet.results.decisions import Decided, Decisions
from mmdensenet.results.judgement import Judgement
from mmdensenet.results.predictions import require_predictions
from mmdensenet.results.scores import Scores
from mmdensenet.results.suspicious import find_suspicious
from mmdensenet.results.training_curves import read_scalars
from mmdensenet.similar import similar_path
from mmdensenet.terminal import each, waiting

from .config_data import name_bad_images, require_data
from .inference import Inferencer
from .models import get_model
from .runner import config_name, open_config, require_checkpoint
from .scoring import run_test
from .summary import summarise
from .tasks import require_one_task

#: in the order in which readers look at them
SECTIONS = [
    ('confusion', 'Confusion'),
    ('errors', 'Errors'),
    ('suspicious', 'Suspicious labels'),
    ('training', 'Training'),
    ('metrics', 'Metrics'),
    ('classes', 'Classes'),
    ('calibration', 'Calibration'),
    ('decisions', 'Decisions'),
    ('curves', 'ROC and PR'),
    ('data', 'Data'),
    ('model', 'Model'),
    ('cost', 'Cost'),
    ('config', 'Config'),
]


@dataclass(frozen=True)
class Members:
    """The models of a cross-validation, on one page.

    Attributes:
        checkpoints: of each model.
        model: (N,) the number of the model that scored the image.
        decisions: of their ensemble.
        decided: the images, each as decided for the model that has not seen it; ``undecided`` are the labels that are
            not.
        options: as of :class:`mmdensenet.export.ensemble.Ensemble`.
    """

    checkpoints: Sequence[str]
    model: np.ndarray
    decisions: Decisions
    decided: Decided
    undecided: Sequence[str] = ()
    options: Sequence[dict] = ()


@dataclass
class Timer:
    """Seconds of the parts of the work."""

    seconds: dict[str, float] = field(default_factory=dict)
    start: float = field(default_factory=time.perf_counter)

    @contextmanager
    def of(self, name: str, text: str | None = None):
        """The work inside; ``text`` is what a terminal says meanwhile."""
        start = time.perf_counter()
        with waiting(text) if text else nullcontext():
            yield
        self.seconds[name] = self.seconds.get(name, 0) + time.perf_counter() - start

    def __str__(self) -> str:
        parts = ', '.join(f'{name} {value:.1f} s' for name, value in self.seconds.items() if name != 'inference')
        beyond = time.perf_counter() - self.start - self.seconds.get('inference', 0)
        test = f'inference {self.seconds["inference"]:.1f} s, ' if 'inference' in self.seconds else ''
        return f'{test}all else {beyond:.1f} s: {parts}'


def make_report(
    config: str | Config,
    checkpoint: str,
    out: str | Path = 'report.html',
    *,
    predictions: str | Scores | None = None,
    suspicious: Scores | None = None,
    judgement: Judgement | None = None,
    members: Members | None = None,
    title: str | None = None,
    names: bool = True,
    work_dir: str | None = None,
    bootstrap: int = 1000,
    gallery: int = 12,
    measure: bool = True,
    device: str | None = None,
    seed: int = 0,
    cfg_options: dict | None = None,
) -> str:
    """Write one HTML file on a checkpoint and the config's test set, which needs no network and no other file.

    Args:
        config: path of a config file, 'mmdensenet::NAME', or a loaded config.
        checkpoint: path or URL.
        predictions: what ``tools/test.py --out FILE`` wrote (.json, .npz, .parquet), or read; by default the test is
            run. Of a checkpoint with decisions they are decided here, from their logits.
        suspicious: scores of images that the model was not trained on, validation or out-of-fold, among whose labels
            likely wrong ones are listed with pictures, see :mod:`mmdensenet.results.suspicious`.
        judgement: of :func:`mmdensenet.apis.fit.judge.judge` on the same images; by default a checkpoint with decisions
            is judged here.
        members: the models of a cross-validation, whose ``predictions`` and ``judgement`` these are; ``checkpoint`` is
            that of the first, and the sections on the model and its cost are on it.
        title: of the page; by default the config's name.
        names: False keeps the names of images off the page; they are numbered as the rows of the files beside it.
        work_dir: of the training, for its curves; by default the folder of the checkpoint.
        bootstrap: resamplings of the test images for the intervals.
        gallery: how many errors are shown.
        measure: measure speed and memory.
        device: for activation maps and speed; by default the GPU if there is one.
        seed: of resamplings and of the halves on which temperatures are fitted.
        cfg_options: dotted keys to values, which override the config.

    Returns:
        How long the test took, and how long everything else, in words; the page says the same.

    Raises:
        UserError: for what the user can put right.
    """
    from .fit.judge import judge  # fit writes reports

    timer = Timer()
    out = output_file(out, ('.html', '.htm'))
    if bootstrap < 0 or gallery < 0 or seed < 0:
        raise UserError(f'bootstrap={bootstrap}, gallery={gallery}, seed={seed}: give 0 or more.')
    if work_dir is not None and not Path(work_dir).is_dir():
        raise UserError(f'work_dir={work_dir} does not exist.{similar_path(work_dir)}')
    if isinstance(predictions, (str, Path)):
        require_predictions(predictions)
    cfg, model, dataset = open_subject(config, checkpoint, device, cfg_options)
    if isinstance(predictions, (str, Path)):  # else the test has its summary
        summarise(model, checkpoint, predictions=predictions, data=f'{len(dataset):,} images')
    with timer.of('inference') if predictions is None else nullcontext():
        scores, evaluator = run_test(cfg, checkpoint, model, dataset, predictions)
    with timer.of('metrics'):
        bar = partial(each, text=f'resampling {len(scores):,} images')
        resampling = Resampling(len(scores), scores.groups, bootstrap, seed, bar if bootstrap else iter)
        decisions = decisions_of(model, checkpoint) if members is None else members.decisions
        if scores.augmented:
            decisions = None
        shown = None
        if members is not None:
            shown = decided_scores(scores, members.decided, members.undecided)
        elif decisions is not None:
            shown = decided_scores(scores, decisions.apply_to(scores), decisions.undecided)
            if judgement is None:
                judgement = judge(scores, decisions, resamplings=bootstrap, seed=seed)
        content = results_section(scores, resampling, seed, shown, judgement)
        scores = scores if shown is None else shown
        content |= decisions_section(decisions, judgement, scores.augmented)
    with timer.of('gallery'):
        content |= _gallery(scores, model, dataset, cfg, gallery, names, _model_of(cfg, members, device))
        content |= _suspicious(suspicious, model, cfg, gallery, names)
    with timer.of('measurements' if measure else 'counting', None if measure else 'counting operations and memory'):
        content |= cost_section(cfg, model, _shape(cfg, dataset), measure)
    with timer.of('page'):
        of, what = short_path(str(checkpoint)), 'test images'
        if members is not None:
            of, what = (
                f'{len(members.checkpoints)} models of a cross-validation',
                'images, each by the one that has not seen it',
            )
        sent = without_folders(cfg)
        page = render(
            title=title or config_name(cfg),
            subtitle=f'Report on {of}, {len(scores):,} {what}',
            took=str(timer),
            sections=[
                (key, 'Labels' if key == 'classes' and scores.multi_label else name)
                for key, name in SECTIONS
                if key != 'suspicious' or suspicious is not None
            ],
            multi_label=scores.multi_label,
            grouped=scores.groups is not None,
            resamplings=bootstrap,
            model_card=_model_card(sent, model, checkpoint, members),
            data_card=data_card(sent, scores, len(dataset)),
            evaluator=[(key, number(value, 4)) for key, value in evaluator.items() if isinstance(value, (int, float))],
            threshold=f'{scores.threshold:g}',
            config_name=str(sent.filename or 'config'),
            config_text=_text(sent),
            **content,
            **_training(work_dir, checkpoint),
        )
        out.write_text(page, encoding='utf-8')
    return str(timer)


def open_subject(config: str | Config, checkpoint: str, device: str | None, cfg_options: dict | None):
    """The config, the model and the test set that are reported on.

    Raises:
        UserError: for a test set that is not there, has no labels or several tasks, and as :func:`get_model` does.
    """
    cfg = open_config(config, cfg_options)
    require_checkpoint(checkpoint)
    name_bad_images(cfg)
    if cfg.get('test_dataloader') is None:
        raise UserError('the config has no test_dataloader, so there is nothing to report on.')
    require_one_task(cfg.model.get('head'), 'a report')
    require_data(cfg, 'test_dataloader')
    model = get_model(cfg, checkpoint, device=device or ('cuda' if torch.cuda.is_available() else 'cpu'))
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    if unlabelled_parts(dataset):
        raise UserError(
            'the test set has no labels, so there is nothing to report on; `mmdensenet test --out` predicts it.'
        )
    return cfg, model, dataset


def _model_of(cfg: Config, members: Members | None, device: str | None) -> Callable[[int], BaseModel] | None:
    """Return a function that gives the model that scored an image; each model is opened at its first use."""
    if members is None:
        return None
    device = device or ('cuda' if torch.cuda.is_available() else 'cpu')
    options = members.options or ({},) * len(members.checkpoints)
    opened = cache(
        lambda number: get_model(open_config(cfg, options[number]), members.checkpoints[number], device=device)
    )
    return lambda place: opened(int(members.model[place]))


def _model_card(cfg: Config, model: BaseModel, checkpoint: str, members: Members | None) -> list[tuple[str, str]]:
    card = model_card(cfg, model, checkpoint, model._checkpoint_meta)
    if members is None:
        return card
    what = 'of this kind; their ensemble is the mean of their probabilities, at as many times the cost'
    return [('models', f'{len(members.checkpoints)} {what}')] + [row for row in card if row[0] != 'checkpoint']


def _gallery(
    scores: Scores, model: BaseModel, dataset, cfg: Config, count: int, names: bool, model_of: Callable | None
) -> dict:
    pipeline = first_pipeline(cfg.test_dataloader, 'test_dataloader')
    bgr = is_bgr(model.data_preprocessor, pipeline)
    shown, reason = make_gallery(scores, model, dataset, bgr, count, names, model_of)
    why = 'The model makes no error on these images.' if count else 'No errors were asked for.'
    return dict(
        gallery=shown, no_maps=reason and without_paths(reason), no_gallery=why, label_hint=True, scale=colour_scale()
    )


def _suspicious(scores: Scores | None, model: BaseModel, cfg: Config, count: int, names: bool) -> dict:
    if scores is None:
        return dict(suspects=None, suspects_count=0, suspects_of=0)
    found = find_suspicious(scores)
    bgr = is_bgr(model.data_preprocessor, first_pipeline(cfg.test_dataloader, 'test_dataloader'))
    shown = make_suspects(scores, found[:count], model, Inferencer(model).prepare, bgr, names)
    return dict(suspects=shown, suspects_count=len(found), suspects_of=len(scores))


def _shape(cfg: Config, dataset) -> tuple[int, int, int]:
    try:
        return tuple(dataset[0]['inputs'].shape)
    except (UserError, IndexError, KeyError, TypeError):
        return input_shape(cfg)


def _training(work_dir: str | None, checkpoint: str) -> dict:
    folder = Path(work_dir or Path(checkpoint).parent)
    curves, unit = read_scalars(folder) if '://' not in str(checkpoint) or work_dir else ({}, '')
    charts = plots.training_charts(curves, unit)
    source = short_path(str(folder))
    return dict(
        training=charts,
        training_source=source,
        no_training=f'There is no log of a training in {source} (vis_data/scalars.json).',
    )


def _text(cfg: Config) -> str:
    try:
        return cfg.pretty_text
    except Exception:  # it formats with yapf, which trips over some values
        return str(cfg)
