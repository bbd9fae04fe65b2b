"""Figures on the pages are those of the measurement files."""

import csv
import re

import pytest
from conftest import ROOT

#: title of a table of docs/benchmarks.md -> mode; its columns are ms, quartiles and MiB at two batches
TABLES = {
    '| training | batch 16: ms | quartiles | MiB | batch 1: ms | quartiles | MiB |': 'train',
    '| evaluation | batch 16: ms | quartiles | MiB | batch 1: ms | quartiles | MiB |': 'eval',
}
PAGE = (ROOT / 'docs' / 'benchmarks.md').read_text(encoding='utf-8')
NAMES = {'ours': 'mmdensenet', 'plain torch': 'fused, plain torch', 'C++ kernels': 'fused, C++ kernels'}


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip('|').split('|')]


def rows_below(page: str, title: str) -> list[list[str]]:
    lines = page.split(title + '\n')[1].splitlines()[1:]
    return [cells(line) for line in lines[: next(i for i, line in enumerate(lines) if not line.startswith('|'))]]


def numbers(text: str) -> list[str]:
    return re.findall(r'\d+(?:\.\d+)?', text)


@pytest.fixture(scope='module')
def measured() -> dict[tuple, list[tuple[float, ...]]]:
    """(batch, mode, words of the candidate's name) -> (median, quartiles, MiB) of each run of DenseNet-121."""
    found: dict[tuple, list[tuple[float, ...]]] = {}
    with open(ROOT / 'benchmarks' / 'results' / 'cpu.csv', encoding='utf-8', newline='') as file:
        for row in csv.DictReader(file):
            if row['arch'] == '121' and row['dtype'] == 'fp32' and row['seconds_median']:
                key = int(row['batch']), row['mode'], frozenset(re.split('[ ,]+', row['candidate']))
                times = (1000 * float(row[name]) for name in ('seconds_median', 'seconds_q25', 'seconds_q75'))
                found.setdefault(key, []).append((*times, float(row['peak_mib'])))
    return found


def is_shown(shown: list[str], value: tuple[float, ...]) -> bool:
    """Whether these are the value's figures: rounded to the digits that are shown, of the four that the file has."""
    units = [10.0 ** -len(text.partition('.')[2]) for text in shown]
    return all(abs(float(a) - b) <= unit / 2 + b / 2000 for a, b, unit in zip(shown, value, units, strict=True))


@pytest.mark.parametrize(('title', 'mode'), TABLES.items(), ids=TABLES.values())
def test_tables_of_densenet121(title, mode, measured):
    compared = 0
    for name, *figures in rows_below(PAGE, title):
        words = frozenset(re.split('[ ,]+', ', '.join(NAMES.get(part, part) for part in name.split(', '))))
        if 'least' in words:
            continue
        for batch, three in ((16, figures[:3]), (1, figures[3:])):
            shown = numbers(' '.join(three).replace('-', ' '))
            if shown:
                assert any(is_shown(shown, value) for value in measured[batch, mode, words]), (name, batch, shown)
                compared += len(shown)
    assert compared >= 40


def test_the_readme_has_the_same():
    text = (ROOT / 'README.md').read_text(encoding='utf-8')
    title = '| DenseNet-121, 224x224, batch 16 | training step | peak memory | evaluation | peak memory |'
    training, evaluation = ({name: row for name, *row in rows_below(PAGE, title)} for title in TABLES)
    rows = rows_below(text, title)
    assert len(rows) == 4
    for name, *figures in rows:
        own = name.startswith('mmdensenet')
        names = ['ours, C++ kernels, channels_last', 'ours, plain torch, channels_last'] if own else [name]
        expected = [[table[name][column] for name in names] for table in (training, evaluation) for column in (0, 2)]
        assert [numbers(figure) for figure in figures] == expected, name
