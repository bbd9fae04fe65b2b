"""Testing a checkpoint."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import mmengine
from mmengine.config import Config, ConfigDict
from mmengine.evaluator import DumpResults
from mmengine.hooks import EMAHook

from mmdensenet.checkpoints.checkpoint_content import CheckpointContentHook
from mmdensenet.convert.coverage import CheckpointCoverageHook
from mmdensenet.datasets.labels import source_of, unlabelled_parts
from mmdensenet.datasets.wrappers import leaf_configs, leaves
from mmdensenet.errors import UserError
from mmdensenet.results.decisions import AUGMENTED, SEVERAL_TASKS
from mmdensenet.results.predictions import DumpPredictions
from mmdensenet.terminal import SHOWN
from mmdensenet.training.end_workers import end_workers_of
from mmdensenet.training.hooks import BadImagesHook, CheckLabelsHook, DecisionsHook, FiniteHook
from mmdensenet.training.memory import out_of_memory_advised

from .runner import (
    EXPORTED_SUFFIXES,
    add_if_missing,
    build_runner,
    fetch_checkpoint,
    open_config,
    prepare_data,
    require_checkpoint,
    set_work_dir,
)
from .tasks import require_one_task, task_names


def test_model(
    config: str | Config,
    checkpoint: str,
    *,
    work_dir: str | None = None,
    out: str | None = None,
    out_item: str | None = None,
    amp: bool = False,
    show_dir: str | None = None,
    show: bool = False,
    interval: int = 1,
    wait_time: float = 2,
    tta: bool = False,
    partial: bool = False,
    logits: bool = False,
    decide: bool = True,
    pin_memory: bool = True,
    launcher: str = 'none',
    cfg_options: dict | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> dict:
    """Evaluate a checkpoint on the config's test set.

    A test set without labels is only predicted, into ``out``; so is one of a config without ``test_evaluator``.

    Args:
        config: path of a config file, 'mmdensenet::NAME', or a loaded config.
        checkpoint: path or URL; or a file of ``tools/export.py``, which says itself how images are prepared.
        work_dir: where the log goes; by default as for :func:`train_model`.
        out: file for the predictions (.json, .npz, .parquet or .pkl) or the metrics (.json, .yaml or .pkl).
        out_item: 'pred' (the default) or 'metrics', what ``out`` gets.
        amp: mixed precision; bfloat16 on a CPU.
        show_dir: folder for one picture per image, or per ``interval`` images, with true and predicted label.
        show: show these pictures in a window, each for ``wait_time`` seconds.
        tta: average over test-time augmentations; a horizontal flip unless the config says which. A checkpoint's
            decisions are for images as they are: they are not applied, which is said.
        logits: the predictions have ``logits`` too; those of a checkpoint with decisions have them anyway.
        decide: False leaves the checkpoint's decisions alone.
        partial: go on with a checkpoint that has only some of the model's tensors.
        pin_memory, launcher, cfg_options: as for :func:`train_model`.
        report: called with lines on what is decided by an exported file; of a checkpoint they are in the log.

    Returns:
        The metrics by name, in the units of the config's evaluator (mmpretrain's accuracy is in percent); those of the
        checkpoint's decisions as ``decided/NAME``, as fractions of 1.

    Raises:
        UserError: for what the user can put right, among it a checkpoint of another model.
    """
    cfg = open_config(config, cfg_options, launcher)
    if interval < 1:
        raise UserError(f'interval={interval}: give 1 or more.')
    set_work_dir(cfg, work_dir)
    if checkpoint.lower().endswith(EXPORTED_SUFFIXES) and Path(checkpoint).expanduser().is_file():
        given = dict(amp=amp, show_dir=show_dir, show=show, tta=tta, partial=partial, launcher=launcher != 'none')
        return _test_exported(cfg, checkpoint, out, out_item, [name for name in given if given[name]], report)
    require_checkpoint(checkpoint)
    cfg.load_from = checkpoint
    cfg.resume = False
    if cfg.get('test_dataloader') is None:
        raise UserError('the config has no test_dataloader, so there is nothing to test.')
    if cfg.get('test_evaluator') is None:
        _require_predictions('the config has no test_evaluator', out, out_item)
        cfg.test_evaluator = []  # mmengine's runner tests with an evaluator only
    if cfg.get('test_cfg') is None:
        cfg.test_cfg = ConfigDict()
    for wanted, what in ((tta, 'test-time augmentation'), (show or show_dir is not None, 'drawing predictions')):
        if wanted:
            require_one_task(cfg.model.get('head'), what)
    if amp:
        cfg.test_cfg.fp16 = True
    if show or show_dir is not None:
        hook = cfg.setdefault('default_hooks', ConfigDict()).setdefault('visualization', ConfigDict())
        hook.setdefault('type', 'mmdensenet.VisualizationHook')
        cfg.setdefault('visualizer', ConfigDict(type='mmdensenet.FastVisualizer'))
        hook.update(enable=True, show=show, wait_time=wait_time, out_dir=show_dir, interval=interval)
    if tta:
        _use_tta(cfg)
    prepare_data(cfg, 'test_dataloader', pin_memory=pin_memory)
    fetch_checkpoint(checkpoint)
    writer = _prediction_writer(out, out_item, tta)

    runner = build_runner(cfg)
    # The weights in the file are the average already. EMAHook would test a second model in their place, into which it
    # loads the checkpoint before other layouts are converted and without regard to `tta`: one of random weights.
    runner._hooks = [hook for hook in runner.hooks if not isinstance(hook, EMAHook)]
    runner.register_hook(CheckLabelsHook(checkpoint))
    for kind in (BadImagesHook, FiniteHook):
        add_if_missing(runner, kind)
    runner.register_hook(CheckpointContentHook(checkpoint))
    decisions = DecisionsHook(checkpoint, logits, decide)
    if tta:
        runner.logger.info(AUGMENTED, extra=SHOWN)
    elif task_names(cfg.model.get('head')):
        runner.logger.info(SEVERAL_TASKS, extra=SHOWN)
    else:
        runner.register_hook(decisions)
    if not partial:
        runner.register_hook(CheckpointCoverageHook(checkpoint))
    try:
        _evaluate_only_labels(runner, out, out_item)
        decisions.evaluate = bool(runner.test_evaluator.metrics)
        if writer is not None:
            runner.test_evaluator.metrics.append(writer)
        with out_of_memory_advised(runner):
            metrics = runner.test()
    finally:
        end_workers_of(runner)
    if out and out_item == 'metrics' and runner.rank == 0:
        mmengine.dump(metrics, out)
    return metrics


test_model.__test__ = False  # not a test of pytest's


def _test_exported(
    cfg: Config, file: str, out: str | None, out_item: str | None, refused: list[str], report: Callable
) -> dict:
    from .exported_metrics import metrics_of_exported  # it needs much that checkpoints do not

    if refused:
        raise UserError(f'{refused[0]}: is for checkpoints, not for an exported file.')
    if cfg.get('test_dataloader') is None:
        raise UserError('the config has no test_dataloader, so there is nothing to test.')
    require_one_task(cfg.model.get('head'), 'testing an exported file')
    writer = _prediction_writer(out, out_item, False)
    if isinstance(writer, DumpResults):
        raise UserError(f'out={out}: of an exported file give .json, .npz or .parquet.')
    prepare_data(cfg, 'test_dataloader')
    metrics = metrics_of_exported(cfg, file, writer, report)
    if out and out_item == 'metrics':
        mmengine.dump(metrics, out)
    return metrics


def _evaluate_only_labels(runner, out: str | None, out_item: str | None) -> None:
    """Take the metrics away where the test set has no labels.

    Raises:
        UserError: if only a part of it has none, or if nothing is left to do.
    """
    dataset = runner.test_loop.dataloader.dataset
    without = unlabelled_parts(dataset)
    if not without:
        return
    if len(without) < len(leaves(dataset)):
        raise UserError(
            f'test_dataloader: {source_of(without[0])} has no labels and other parts of the test set have: test each '
            'by itself.'
        )
    _require_predictions('the test set has no labels', out, out_item)
    runner.test_evaluator.metrics.clear()
    runner.logger.info(
        f'The test set has no labels: its {len(dataset)} images are predicted and not evaluated.', extra=SHOWN
    )


def _require_predictions(reason: str, out: str | None, out_item: str | None) -> None:
    if out is None or out_item == 'metrics':
        raise UserError(f'{reason}, so there are no metrics: give out=FILE for the predictions.')


def _use_tta(cfg: Config) -> None:
    if 'tta_model' not in cfg:
        cfg.tta_model = dict(type='mmpretrain.AverageClsScoreTTA')
    given = cfg.get('tta_pipeline')
    for key, leaf in leaf_configs(cfg.test_dataloader.dataset, 'test_dataloader.dataset'):
        steps = list(leaf.get('pipeline') or ())
        if given is None and (not steps or str(steps[-1].get('type')).rpartition('.')[2] != 'PackInputs'):
            raise UserError(f'`tta`: {key}.pipeline does not end in PackInputs: set tta_pipeline in the config.')
        leaf['pipeline'] = deepcopy(given) if given is not None else _flipped(steps)
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)


def _flipped(pipeline: list[dict]) -> list[dict]:
    """Return the pipeline with test-time augmentation by a horizontal flip."""
    *steps, pack = deepcopy(pipeline)
    flips = [dict(type='RandomFlip', prob=1.0), dict(type='RandomFlip', prob=0.0)]
    return [*steps, dict(type='TestTimeAug', transforms=[flips, [pack]])]


def _prediction_writer(out: str | None, out_item: str | None, tta: bool):
    """The metric that writes predictions to ``out``, or None."""
    if out is None:
        if out_item is not None:
            raise UserError('`out_item` says what to write, out=FILE where: give both.')
        return None
    suffix = Path(out).suffix
    safe = ('.json', '.yaml', '.yml') if out_item == 'metrics' else ('.json', '.npz', '.parquet')
    allowed = (*safe, '.pkl', '.pickle')
    if suffix not in allowed:
        raise UserError(f'out={out}: the name must end in one of {", ".join(allowed)}.')
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    if out_item == 'metrics':
        return None
    return DumpPredictions(out, tta) if suffix in safe else DumpResults(out_file_path=out)
