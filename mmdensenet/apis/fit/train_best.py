"""Step 4, train: the best epoch of a run that goes on where it was interrupted."""

from collections.abc import Iterator
from pathlib import Path

from mmdensenet.apis.config import LOADERS
from mmdensenet.apis.runner import open_config
from mmdensenet.apis.train import train_model
from mmdensenet.errors import UserError

from .work_folder import WorkFolder


def train_best(work: WorkFolder, config: Path, name: str, options: dict, made_of: dict, report) -> dict:
    """Train, or go on, or do nothing where it is done.

    Args:
        name: of the folder below the work directory, and of the result.
        options: that override the config.

    Returns:
        ``checkpoint`` (below the work directory), ``metric``, ``best`` (its value) and ``epoch``.

    Raises:
        UserError: as :func:`mmdensenet.apis.train_model` does.
    """
    done = work.done(name, made_of)
    if done is not None and (work / done['checkpoint']).is_file():
        report(f'  as before: {describe(done)}')
        return done
    folder = work / name
    work.begin(name)
    begun = work.read(f'{name}_begun')
    if folder.is_dir() and any(folder.iterdir()) and (begun is None or begun['made_of'] != made_of):
        aside = work.set_aside(name)
        report(f'  config or samples are others than before: the earlier training is now in {aside}')
    work.write(f'{name}_begun', made_of, {})
    runner = train_model(str(config), work_dir=str(folder), resume='auto', cfg_options=options)
    metric = runner.cfg.default_hooks.checkpoint.save_best
    best = sorted(folder.glob('best_*.pth'), key=lambda path: path.stat().st_mtime)
    if not best:
        raise UserError(
            f'{folder} has no best checkpoint: {metric} was never a number. The validation part is too small, '
            'or the log warns of scores that are not numbers.'
        )
    hub = runner.message_hub
    score = hub.get_info('best_score') if 'best_score' in hub.runtime_info else None
    result = dict(
        checkpoint=best[-1].relative_to(work.path).as_posix(),
        metric=metric,
        best=None if score is None else float(score),
        epoch=int(best[-1].stem.rpartition('_')[2]),
    )
    report(f'  {describe(result)}')
    return work.write(name, made_of, result)


def describe(result: dict) -> str:
    value = '' if result['best'] is None else f' of {result["best"]:.4g}'
    return f'epoch {result["epoch"]} is the best, with {result["metric"]}{value} on the validation part'


def fold_options(config: Path, column: str) -> dict:
    """Options that make a config that of a column of parts: its loaders' column, and what ``folds`` says of it."""
    own = open_config(str(config)).get('folds') or {}
    return {f'{loader}.dataset.split_column': column for loader in LOADERS} | dict(_dotted(own.get(column) or {}))


def _dotted(values: dict, above: str = '') -> Iterator[tuple[str, object]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _dotted(value, f'{above}{key}.')
        else:
            yield f'{above}{key}', value
