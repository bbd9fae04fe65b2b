"""Change the code in one place at a time, and see whether the tests of the changed module notice.

    python tests/scripts/mutants.py --minutes 30
    python tests/scripts/mutants.py --minutes 5 mmdensenet/results/bootstrap.py

The changes are cosmic-ray's: another comparison, number, sign or word. They are drawn from all of them with a fixed
seed until the time is over, and the tests of the module's name (mmdensenet/x/y.py: tests/x/test_y*.py) run on each in
a forked process, which has imported what is slow to import. A change that no test notices is printed.
"""

import argparse
import contextlib
import difflib
import importlib.abc
import importlib.util
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ('checkpoints', 'datasets', 'results')
OPERATORS = (
    *('NumberReplacer', 'AddNot', 'ReplaceTrueWithFalse', 'ReplaceFalseWithTrue', 'ReplaceAndWithOr'),
    *('ReplaceOrWithAnd', 'ReplaceBreakWithContinue', 'ReplaceContinueWithBreak', 'ZeroIterationForLoop'),
    *('ReplaceComparisonOperator_Lt_LtE', 'ReplaceComparisonOperator_LtE_Lt', 'ReplaceComparisonOperator_Gt_GtE'),
    *('ReplaceComparisonOperator_GtE_Gt', 'ReplaceComparisonOperator_Eq_NotEq', 'ReplaceComparisonOperator_Is_IsNot'),
    *('ReplaceComparisonOperator_IsNot_Is', 'ReplaceBinaryOperator_Add_Sub', 'ReplaceBinaryOperator_Sub_Add'),
    *('ReplaceBinaryOperator_Mul_Div', 'ReplaceBinaryOperator_Div_Mul', 'ReplaceBinaryOperator_FloorDiv_Mul'),
    *('ReplaceUnaryOperator_USub_UAdd', 'ReplaceUnaryOperator_Delete_Not'),
)
KILLED, SURVIVED, SLOW = 'killed', 'survived', 'ran into the time limit'


def modules() -> list[Path]:
    """Of the rooms, and the plan of the dense block."""
    files = [file for room in ROOMS for file in sorted((ROOT / 'mmdensenet' / room).glob('[a-z]*.py'))]
    return [*files, *sorted((ROOT / 'mmdensenet' / 'ops').rglob('plan.py'))]


def tests_of(module: Path) -> list[Path]:
    folder = ROOT / 'tests' / module.relative_to(ROOT / 'mmdensenet').parent
    return sorted(folder.glob(f'test_{module.stem}*.py'))


def mutations(module: Path) -> list[tuple[str, int]]:
    """Operators and the number of the place where each can be applied."""
    import parso
    from cosmic_ray.plugins import get_operator

    def nodes(node) -> Iterator:
        yield node
        for child in getattr(node, 'children', ()):
            yield from nodes(child)

    tree = list(nodes(parso.parse(module.read_text(encoding='utf-8'))))
    found = []
    for name in OPERATORS:
        operator = get_operator(f'core/{name}')()
        found += [(name, i) for i in range(sum(len(list(operator.mutation_positions(node))) for node in tree))]
    return found


def mutate(module: Path, operator: str, occurrence: int) -> tuple[str, str]:
    """The changed code, and what changed."""
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    code = module.read_text(encoding='utf-8')
    changed = mutate_code(code, get_operator(f'core/{operator}')(), occurrence)
    lines = difflib.unified_diff(code.splitlines(), changed.splitlines(), lineterm='', n=0)
    return changed, '\n'.join(line for line in lines if not line.startswith(('---', '+++')))


class Changed(importlib.abc.SourceLoader, importlib.abc.MetaPathFinder):
    """Imports one module with other code."""

    def __init__(self, name: str, file: Path, code: str):
        self.name, self.file, self.code = name, file, code

    def find_spec(self, fullname, path=None, target=None):
        if fullname == self.name:
            return importlib.util.spec_from_file_location(fullname, self.file, loader=self)
        return None

    def get_filename(self, fullname: str) -> str:
        return str(self.file)

    def get_data(self, path: str) -> bytes:
        return self.code.encode()


def run_tests(tests: list[Path], limit: float, changed: Changed | None = None) -> str:
    """Run tests in a forked process, in a process group of its own."""
    child = os.fork()
    if child == 0:
        os.setsid()
        with open(os.devnull, 'w') as nowhere:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
        import pytest

        if changed is not None:
            sys.meta_path.insert(0, changed)
        os._exit(pytest.main(['-x', '-q', '-m', 'not slow', '-p', 'no:cacheprovider', '-n', '0', *map(str, tests)]))
    end = time.monotonic() + limit
    try:
        while time.monotonic() < end:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                return SURVIVED if os.waitstatus_to_exitcode(status) == 0 else KILLED
            time.sleep(0.05)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return SLOW


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('modules', nargs='*', type=Path, help=f'by default all of {", ".join(ROOMS)}, and the plan')
    parser.add_argument('--minutes', type=float, default=30)
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    end = time.monotonic() + 60 * args.minutes
    os.chdir(ROOT)
    import torch  # noqa: F401

    seconds: dict[Path, float] = {}
    drawn = []
    for module in [file.resolve() for file in args.modules] or modules():
        if not tests_of(module):
            print(f'{module.relative_to(ROOT)}: has no tests of its name')
            continue
        start = time.monotonic()
        if run_tests(tests_of(module), 300) != SURVIVED:
            print(f'{module.relative_to(ROOT)}: its tests fail, or take five minutes')
            continue
        seconds[module] = time.monotonic() - start
        drawn += [(module, *mutation) for mutation in mutations(module)]
    random.Random(args.seed).shuffle(drawn)
    counts: Counter[str] = Counter()
    for module, operator, occurrence in drawn:
        if time.monotonic() > end:
            break
        code, difference = mutate(module, operator, occurrence)
        name = '.'.join(module.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__')
        outcome = run_tests(tests_of(module), 10 + 5 * seconds[module], Changed(name, module, code))
        counts[outcome] += 1
        if outcome == SURVIVED:
            print(f'{module.relative_to(ROOT)}: {operator}\n{difference}\n', flush=True)
    print(f'{counts.total()} of {len(drawn)} changes, drawn with seed {args.seed}: {dict(counts)}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
