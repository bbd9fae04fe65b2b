"""Change the code in one place at a time, and see whether the tests of the changed module notice.

    python tests/scripts/mutants.py --minutes 30
    python tests/scripts/mutants.py --minutes 5 mmdensenet/results/bootstrap.py mmdensenet/apis/fit

The changes are cosmic-ray's: another comparison, number, sign or word. They are drawn from all of them with a fixed
seed until the time is over, some of a module before those of the next one. The tests of the module's name
(mmdensenet/x/y.py: tests/x/test_y.py and test_y_*.py) are collected once; a process forked from there puts the changed
code into the module's functions and runs them. What is computed while a module is imported is changed in a process that
imports the changed module. A change that no test notices is printed, and so is one whose tests ran into the time limit:
it may only have made them slow.
"""

import argparse
import ast
import contextlib
import difflib
import functools
import gc
import importlib.abc
import importlib.util
import itertools
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from change_functions import Functions

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ('checkpoints', 'datasets', 'results', 'ops/block/plan.py')
OPERATORS = (
    *('NumberReplacer', 'AddNot', 'ReplaceTrueWithFalse', 'ReplaceFalseWithTrue', 'ReplaceAndWithOr'),
    *('ReplaceOrWithAnd', 'ReplaceBreakWithContinue', 'ReplaceContinueWithBreak', 'ZeroIterationForLoop'),
    *('ReplaceComparisonOperator_Lt_LtE', 'ReplaceComparisonOperator_LtE_Lt', 'ReplaceComparisonOperator_Gt_GtE'),
    *('ReplaceComparisonOperator_GtE_Gt', 'ReplaceComparisonOperator_Eq_NotEq', 'ReplaceComparisonOperator_Is_IsNot'),
    *('ReplaceComparisonOperator_IsNot_Is', 'ReplaceBinaryOperator_Add_Sub', 'ReplaceBinaryOperator_Sub_Add'),
    *('ReplaceBinaryOperator_Mul_Div', 'ReplaceBinaryOperator_Div_Mul', 'ReplaceBinaryOperator_FloorDiv_Mul'),
    *('ReplaceUnaryOperator_USub_UAdd', 'ReplaceUnaryOperator_Delete_Not'),
)
KILLED, SURVIVED, SLOW, IMPORTED = 'killed', 'survived', 'ran into the time limit', 'changes what is imported'
INVALID = 'is no other program'
BROKEN = 'its tests fail without a change'
UNSUITED = 99  # exit status: the change is not in a function
PYTEST = ('-q', '-m', 'not slow', '-p', 'no:cacheprovider', '-n', '0')


def modules(wanted: Sequence[Path]) -> list[Path]:
    """The files among ``wanted`` and in the folders there."""
    files = [sorted(path.rglob('[a-z]*.py')) if path.is_dir() else [path] for path in wanted]
    return [file for found in files for file in found]


def tests_of(module: Path) -> list[Path]:
    """test_NAME.py and test_NAME_*.py, if no module of the folder has this longer name."""
    folder = ROOT / 'tests' / module.relative_to(ROOT / 'mmdensenet').parent
    tests = [*folder.glob(f'test_{module.stem}.py'), *folder.glob(f'test_{module.stem}_*.py')]
    others = [other.stem for other in module.parent.glob(f'{module.stem}_*.py')]
    return sorted(test for test in tests if not test.stem.removeprefix('test_').startswith(tuple(others)))


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


def _name(file: Path) -> str:
    return '.'.join(file.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__')


class Changed(importlib.abc.SourceLoader, importlib.abc.MetaPathFinder):
    """Imports one module with other code."""

    def __init__(self, file: Path, code: str):
        self.name, self.file, self.code = _name(file), file, code

    def find_spec(self, fullname, path=None, target=None):
        if fullname == self.name:
            return importlib.util.spec_from_file_location(fullname, self.file, loader=self)
        return None

    def get_filename(self, fullname: str) -> str:
        return str(self.file)

    def get_data(self, path: str) -> bytes:
        return self.code.encode()


def silent() -> None:
    with open(os.devnull, 'w') as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)


def outcome(run: Callable[[], int], limit: float) -> str:
    """Of tests that ``run`` runs in a forked process, with a process group and temporary files of its own."""
    folder = tempfile.mkdtemp(prefix='mutant_')
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        os.environ['TMPDIR'] = tempfile.tempdir = folder
        status = 1
        try:
            silent()
            status = run()
        finally:
            os._exit(status)
    end = time.monotonic() + limit
    pause = 0.005
    try:
        while time.monotonic() < end:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
                return {0: SURVIVED, UNSUITED: IMPORTED}.get(code, KILLED)
            time.sleep(pause)
            pause = min(2 * pause, 0.1)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)
    os.waitpid(child, 0)
    return SLOW


class OneByOne:
    """A pytest plugin that runs what is collected for one change after the other, each time in a forked process.

    Tells ``tell`` how long the tests take without a change, or that they fail, and the outcome of each change.
    """

    def __init__(self, module: Path, drawn: Sequence[tuple[str, int]], end: float, tell: Callable[[object], None]):
        self.module, self.drawn, self.end, self.tell = module, drawn, end, tell
        self.functions, self.parent = Functions(module), os.getppid()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        importlib.import_module(_name(self.module))  # some tests do while they run
        self.functions.stop()
        original = self.module.read_text(encoding='utf-8')
        with tempfile.NamedTemporaryFile('r') as times:
            start = time.monotonic()
            if session.testsfailed or outcome(lambda: run_items(session, Path(times.name)), 300) != SURVIVED:
                self.tell(BROKEN)
                return True
            seconds = time.monotonic() - start
            took = dict(zip(session.items, map(float, times.read().split()), strict=True))
        self.tell(seconds)
        session.items.sort(key=took.__getitem__)  # a change is noticed sooner
        gc.collect()
        gc.freeze()  # so that a forked process does not copy what only its garbage collector would touch

        for operator, occurrence in self.drawn:
            if time.monotonic() > self.end or os.getppid() != self.parent:  # which has been ended
                break
            code, _ = mutate(self.module, operator, occurrence)
            if not _is_another_program(original, code):
                self.tell(INVALID)
                continue

            def run(code: str = code) -> int:
                return run_items(session) if self.functions.change(original, code) else UNSUITED

            self.tell(outcome(run, 20 + 5 * seconds))
        return True


def _is_another_program(before: str, after: str) -> bool:
    """Not so where 1e30 + 1 is 1e30; and the asterisk before keyword-only arguments is no product."""
    try:
        return ast.dump(ast.parse(before)) != ast.dump(ast.parse(after))
    except SyntaxError:
        return False


def run_items(session: pytest.Session, times: Path | None = None) -> int:
    """Run tests until one fails, and return the exit status; write the seconds that each took."""
    took = []
    for item, following in zip(session.items, [*session.items[1:], None], strict=True):
        start = time.monotonic()
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.testsfailed:
            return 1
        took.append(time.monotonic() - start)
    if times is not None:
        times.write_text(' '.join(map(str, took)))
    return 0


def in_functions(module: Path, drawn: Sequence[tuple[str, int]], end: float) -> list[str]:
    """What `OneByOne` tells in a process of its own."""
    read, write = os.pipe()
    if (server := os.fork()) == 0:
        os.close(read)
        answers = os.fdopen(write, 'w', buffering=1)
        tell = functools.partial(print, file=answers)
        silent()
        try:
            pytest.main([*PYTEST, *map(str, tests_of(module))], plugins=[OneByOne(module, drawn, end, tell)])
        finally:
            tell('')  # the last line: a process that a test has left may hold the pipe open
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as lines:
        told = list(itertools.takewhile(bool, (line.strip() for line in lines)))
    os.waitpid(server, 0)
    return told or [BROKEN]


def imported(module: Path, code: str, seconds: float) -> str:
    """The outcome where the module is imported with the changed code."""

    def run() -> int:
        sys.meta_path.insert(0, Changed(module, code))
        return pytest.main(['-x', *PYTEST, *map(str, tests_of(module))])

    return outcome(run, 120 + 5 * seconds)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('paths', nargs='*', type=Path, help=f'by default {", ".join(ROOMS)} of mmdensenet')
    parser.add_argument('--minutes', type=float, default=30)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--at-once', type=int, default=10, help="of a module before the next module's turn")
    args = parser.parse_args()
    end = time.monotonic() + 60 * args.minutes
    wanted = [path.resolve() for path in args.paths] or [ROOT / 'mmdensenet' / room for room in ROOMS]
    for path in wanted:
        if not path.exists():
            parser.error(f'{path} does not exist')
    os.chdir(ROOT)

    draw = random.Random(args.seed)
    left = {module: mutations(module) for module in modules(wanted)}
    for changes in left.values():
        draw.shuffle(changes)
    total = sum(map(len, left.values()))
    counts: dict[Path, Counter[str]] = defaultdict(Counter)
    while left and time.monotonic() < end:
        for module in draw.sample(sorted(left), len(left)):
            if time.monotonic() > end:
                break
            drawn, left[module] = left[module][: args.at_once], left[module][args.at_once :]
            name = module.relative_to(ROOT)
            seconds, *outcomes = in_functions(module, drawn, end) if tests_of(module) else [BROKEN]
            if seconds == BROKEN:
                print(f'{name}: has no tests of its name, or they fail or take five minutes', flush=True)
                left[module] = []
            found = Counter()
            for change, one in zip(drawn, outcomes, strict=False):
                code, difference = mutate(module, *change)
                if one == IMPORTED:
                    one = imported(module, code, float(seconds))
                found[one] += one != INVALID
                if one in (SURVIVED, SLOW):
                    print(f'{name}: {one}: {change[0]}\n{difference}\n', flush=True)
            counts[module.parent] += found
            print(f'{name}: {dict(+found)}', flush=True)
        left = {module: changes for module, changes in left.items() if changes}

    for folder, found in sorted(counts.items()):
        print(f'{folder.relative_to(ROOT)}: {dict(found)}')
    tried = sum(counts.values(), Counter())
    print(f'{tried.total()} of {total} changes, drawn with seed {args.seed}: {dict(tried)}')
    return 0


if __name__ == '__main__':
    import torch  # noqa: F401  once, for all processes that are forked

    sys.exit(main())
