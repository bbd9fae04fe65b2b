"""Step 3 in the work directory: the config is written, kept as it was or was edited, or gets other paths."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from mmdensenet.errors import UserError

from .kept_scores import hash_file
from .look import Look
from .work_folder import WorkFolder, fingerprint, hash_table, write_text
from .write_config import write_config


def config_step(
    seen: Look,
    columns: dict[str, list[str]],
    work: WorkFolder,
    report: Callable[[str], None],
    *,
    weights: str | None,
    network: str | None,
    minutes: float | None,
    title: str,
) -> Path:
    """Write ``config.py``, or keep the one that is there: of the same inputs, or edited by the user.

    Where only the paths of the images or the work directory are others, these are changed in it.

    Args:
        columns: the parts, as samples.csv has them.
        weights, network, minutes, title: see :func:`.write_config.write_config`.

    Raises:
        UserError: if the config was edited and the inputs are others, and as :func:`.write_config.write_config` does.
    """
    file = work / 'config.py'
    made_of = dict(
        weights=weights,
        minutes=minutes,
        samples=fingerprint(hash_table(work / 'samples.csv', tuple(seen.samples.subgroups)), sorted(columns)),
        images=fingerprint([p['digest'] for p in seen.pictures]),
    )
    if network is not None:  # a work directory of before there was the argument goes on
        made_of['network'] = network
        if Path(network).is_file():
            made_of['network_file'] = hash_file(Path(network))
    if weights is not None and Path(weights).is_file():
        made_of['weights_file'] = hash_file(Path(weights))
    before = work.read('config')
    text = file.read_text(encoding='utf-8') if file.is_file() else None
    place = place_of(seen, work)
    if text is not None and before is not None and before['result'].get('place', place) != place:
        text, before = _moved(work, text, before, place)
        report(f'  the images or the work directory are elsewhere now: the paths in {file} are changed')
    edited = text is not None and before is not None and fingerprint(text) != before['result']['text']
    same = before is not None and text is not None and work.done('config', made_of) is not None
    changes = work.changed('config', made_of)
    if edited:
        if not same:
            raise UserError(
                f'{file} was edited, and these are others now: {", ".join(changes)}. Rename it, so that a new one is '
                'written, or give another work_dir.'
            )
        report(f'  {file} was edited: it is used as it is')
        return file
    if same:
        for line in before['result']['lines']:
            report(f'  {line}')
        report(f'  as before: {file}')
        return file
    work.report_changes('config', made_of, report)
    plan = write_config(
        seen,
        columns,
        samples_file=os.path.abspath(work / 'samples.csv'),
        config_file=str(file),
        minutes=None if minutes is None else minutes / len(columns),
        weights=weights,
        network=network,
        title=title,
    )
    for line in plan.lines:
        report(f'  {line}')
    work.begin('config')
    write_text(file, plan.text)
    result = dict(text=fingerprint(plan.text), lines=plan.lines, seconds=plan.seconds, place=place)
    work.write('config', made_of, result)
    report(f'  written: {file}')
    return file


def place_of(seen: Look, work: WorkFolder) -> list[str]:
    """The paths that a config has."""
    return [os.path.abspath(work / 'samples.csv'), os.path.abspath(seen.samples.root)]


def _moved(work: WorkFolder, text: str, before: dict, place: list[str]) -> tuple[str, dict]:
    """Write the config and its result with the paths of now."""
    was = before['result']
    edited = fingerprint(with_paths(text, place, was['place'])) != was['text']
    text = with_paths(text, was['place'], place)
    result = was | dict(text=was['text'] if edited else fingerprint(text), place=place)
    write_text(work / 'config.py', text)
    work.write('config', before['made_of'], result)
    return text, dict(before, result=result)


def with_paths(text: str, old: Sequence[str], new: Sequence[str]) -> str:
    """A config with other paths."""
    for before, after in zip(old, new):
        text = text.replace(repr(before), repr(after))
    return text
