"""Imports go one way, also those inside functions, a file name stands once, and every module has its test file;
CONTRIBUTING.md, "Layout".
"""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from conftest import ROOT

#: from below: a package imports what stands on floors before its own
FLOORS = (
    ('compat',),
    ('errors',),
    ('extras', 'model_wrappers', 'registry', 'similar', 'terminal', 'version'),
    ('output',),
    ('ops',),
    ('checkpoints', 'datasets', 'models'),
    ('results',),
    ('convert', 'training'),
    ('analysis', 'export'),
    ('serving',),
    ('apis',),
    ('cli', 'data_repairs', 'engine', 'utils'),
    ('mmdensenet_cli',),
    ('__init__', '__main__'),
)
FLOOR = {name: floor for floor, names in enumerate(FLOORS) for name in names}
#: what is under two names on purpose: one op in C++ and in Triton, a library's files and ours
TWICE = {'__init__.py', 'files.py', 'norm.py'}

#: modules without a test file of their name, and the file below tests/ that tests them
TESTED_BY = {
    **{
        f'mmdensenet/analysis/checklists/{name}.py': 'analysis/checklists/test_checklists.py'
        for name in ('claim', 'stard', 'tripod')
    },
    'mmdensenet/apis/verify.py': 'tools/test_verify_dataset.py',
    'mmdensenet/apis/visualize.py': 'tools/test_visualize.py',
    'mmdensenet/compat/torch.py': 'compat/test_compat.py',
    'mmdensenet/ops/block/read_modules.py': 'ops/block/test_plan.py',
    'mmdensenet/ops/steps/triton/matmul_grads.py': 'ops/steps/triton/test_matmul_backward.py',
    'mmdensenet/version.py': 'cli/test_info.py',
    'mmdensenet_cli/convert.py': 'tools/test_convert_checkpoint.py',
    'mmdensenet_cli/train.py': 'tools/test_train_and_test.py',
    'mmdensenet_cli/verify.py': 'tools/test_verify_dataset.py',
}

FILES = [file for file in sorted(Path(ROOT, 'mmdensenet').rglob('*.py')) if '.mim' not in file.parts]


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """Line and first part below mmdensenet of all that a file imports from it, and 'mmdensenet_cli'."""
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
        yield from ((node.lineno, parts[0]) for parts in found if parts[0] == 'mmdensenet_cli')


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


def test_every_module_has_its_test_file():
    """A command's may be among those of the tools, which run it."""
    tests, missing = ROOT / 'tests', []
    for file in [*FILES, *sorted(Path(ROOT, 'mmdensenet_cli').rglob('*.py'))]:
        package, *inner = file.relative_to(ROOT).parent.parts
        name = file.relative_to(ROOT).as_posix()
        folders = [Path(*inner)] if package == 'mmdensenet' else [Path('cli', *inner), Path('tools')]
        found = [tests / folder / f'test_{file.stem}.py' for folder in folders]
        found += [tests / TESTED_BY[name]] if name in TESTED_BY else []
        if not file.name.startswith('__') and not any(each.is_file() for each in found):
            missing.append(name)
    assert missing == []
    assert all((ROOT / name).is_file() for name in TESTED_BY)
