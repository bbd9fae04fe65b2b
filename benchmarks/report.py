"""Report measurements: quartiles, machine and versions, tables, CSV rows."""

import csv
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from mmdensenet_cli.info import processor

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / 'benchmarks' / 'results'
PACKAGES = ('torch', 'torchvision', 'timm', 'mmpretrain', 'mmdensenet')


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median and upper quartile; of one value, that value three times."""
    if len(values) < 2:
        return (values[0],) * 3
    low, median, high = statistics.quantiles(values, n=4, method='inclusive')
    return low, median, high


def timing(seconds: Sequence[float]) -> dict[str, float]:
    """The columns of a candidate's steps: how many, and the quartiles of their seconds."""
    low, median, high = quartiles(seconds)
    return dict(steps=len(seconds), seconds_q25=low, seconds_median=median, seconds_q75=high)


def provenance(device: str, threads: int) -> dict[str, str | int]:
    """The columns that say when, on what and with which versions a row was measured; '' for what is not installed."""
    return (
        dict(date=time.strftime('%Y-%m-%d %H:%M'), commit=_commit())
        | dict(device=device_name(device), threads=threads, python=platform.python_version())
        | {package: _version(package) for package in PACKAGES}
    )


def device_name(device: str) -> str:
    """The GPU's name, or the processor's."""
    if device == 'cuda':
        import torch

        return torch.cuda.get_device_name()
    return f'{processor()} ({os.cpu_count()} CPUs)'


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ''


def _commit() -> str:
    """The commit, with a + if tracked files other than results and docs differ from it; '' without git."""
    try:
        name = _git('rev-parse', '--short', 'HEAD')
        changed = _git('status', '--porcelain', '--untracked-files=no', '--', '.', ':!benchmarks/results', ':!docs')
    except (OSError, subprocess.CalledProcessError):
        return ''
    return name + '+' * bool(changed)


def _git(*args: str) -> str:
    return subprocess.run(['git', *args], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of text, the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    lines = []
    for row in (header, *rows):
        cells = [row[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
        lines.append('  '.join(cells).rstrip())
    return '\n'.join(lines)


def append_rows(rows: Sequence[dict], file: Path) -> None:
    """Add rows to a CSV file, which is made with a header if it is not there. Floats get four digits, None is empty.

    Raises:
        SystemExit: if the file has other columns.
    """
    columns = list(rows[0])
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        with file.open('w', newline='') as out:
            csv.writer(out, lineterminator='\n').writerow(columns)
    with file.open(newline='') as existing:
        header = next(csv.reader(existing), None)
    if header != columns:
        raise SystemExit(f'{file} has other columns than this version writes: name another file with --csv')
    with file.open('a', newline='') as out:
        writer = csv.DictWriter(out, columns, lineterminator='\n')
        for row in rows:
            writer.writerow({key: f'{value:.4g}' if isinstance(value, float) else value for key, value in row.items()})
