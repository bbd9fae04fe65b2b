"""Imports go one way, also those inside functions, and a file name stands once; CONTRIBUTING.md, "Layout"."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from conftest import ROOT

#: from below: a package imports what stands on floors before its own
FLOORS = (
    ('compat',),
    ('errors', 'extras', 'registry', 'similar', 'terminal', 'version'),
    ('output',),
    ('ops',),
    ('checkpoints', 'datasets', 'models'),
    ('results',),
    ('convert', 'training'),
    ('analysis', 'export'),
    ('serving',),
    ('apis',),
    ('cli', 'data_repairs', 'engine', 'utils'),
    ('__init__', '__main__'),
)
FLOOR = {name: floor for floor, names in enumerate(FLOORS) for name in names}
#: what is under two names on purpose: one op in C++ and in Triton, a library's files and ours
TWICE = {'__init__.py', 'files.py', 'norm.py'}

FILES = [file for file in sorted(Path(ROOT, 'mmdensenet').rglob('*.py')) if '.mim' not in file.parts]


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """Line and first part below mmdensenet of all that a file imports from it."""
    package = file.relative_to(ROOT).parts[:-1]
    for node in ast.walk(ast.parse(file.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            found = [alias.name.split('.') for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            base += node.module.split('.') if node.module else []
            found = [base] if len(base) > 1 else [[*base, alias.name] for alias in node.names]
        else:
            continue
        yield from ((node.lineno, parts[1]) for parts in found if parts[0] == 'mmdensenet' and len(parts) > 1)


def test_no_import_goes_up():
    wrong = []
    for file in FILES:
        own = file.relative_to(ROOT / 'mmdensenet').with_suffix('').parts[0]
        for line, name in imports(file):
            if name != own and FLOOR.get(name, -1) >= FLOOR[own]:
                wrong.append(f'{file.relative_to(ROOT)}, line {line}: {own} imports {name}')
    assert len(FILES) > 200 and not wrong, '\n'.join(wrong)


def test_a_file_name_stands_once():
    names = Counter(file.name for file in FILES)
    assert {name for name, count in names.items() if count > 1} == TWICE
