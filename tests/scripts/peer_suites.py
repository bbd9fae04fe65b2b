"""Run mmengine's and mmpretrain's own tests with and without mmdensenet, and compare.

    git clone --branch v0.10.7 https://github.com/open-mmlab/mmengine
    git clone --branch v1.2.0 https://github.com/open-mmlab/mmpretrain
    python tests/scripts/peer_suites.py mmengine mmpretrain

Each part of a suite runs in a process of its own, once as it is and once with ``import mmdensenet`` first. Tests that
differ run once more, by themselves, both ways. Printed are the tests that pass only without mmdensenet, those that pass
only with it, those that pass neither way, and those that were not compared because their part took too long. The
status is 1 if one of the first kind is not in :data:`DELIBERATE`. It takes hours on two cores; ``--only`` makes slices.
The file is also the plugin of pytest that writes the outcomes.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

if os.environ.get('PEER_SUITES_WITH') == '1':
    import mmdensenet  # noqa: F401  before pytest imports a test

ROOT = Path(__file__).resolve().parents[2]
#: tests that pass only without mmdensenet, with the reasons; docs/compatibility.md has them too
DELIBERATE = {
    'tests/test_infer/test_infer.py::TestBaseInferencer::test_init': 'the config text in a checkpoint is not executed',
    'tests/test_utils/test_package_utils.py::test_get_install_path': 'it mocks pkg_resources, which is not used',
}
WAYS = ('without', 'with')
KINDS = {(True, False): 'only_without', (False, True): 'only_with', (False, False): 'neither', (True, True): 'both'}
#: a folder with more tests than these is run file by file, since a part that takes too long is lost whole
FEW = 8


def pytest_runtest_logreport(report) -> None:
    """Write the outcome of each phase of a test as a line."""
    with open(os.environ['PEER_SUITES_RESULTS'], 'a', encoding='utf-8') as file:
        file.write(json.dumps([report.nodeid, report.outcome]) + '\n')


def run(checkout: Path, what: list[str], way: str, seconds: float) -> tuple[dict[str, bool], bool]:
    """Which tests pass, and whether they came to an end."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder, 'results')
        env = {**os.environ, 'PEER_SUITES_RESULTS': str(results), 'PEER_SUITES_WITH': str(int(way == 'with'))}
        env['PYTHONPATH'] = os.pathsep.join([str(Path(__file__).parent), str(ROOT)])
        options = ['-q', '--continue-on-collection-errors', '-p', 'peer_suites', '-p', 'no:cacheprovider']
        command = [sys.executable, '-m', 'pytest', *options, *what]
        try:
            subprocess.run(
                command, cwd=checkout, env=env, timeout=seconds, capture_output=True, stdin=subprocess.DEVNULL
            )
            ended = True
        except subprocess.TimeoutExpired:
            ended = False
        passed: dict[str, bool] = {}
        for line in results.read_text(encoding='utf-8').splitlines() if results.exists() else ():
            name, outcome = json.loads(line)
            passed[name] = passed.get(name, True) and outcome == 'passed'
        return passed, ended


def parts(checkout: Path) -> list[str]:
    """Folders and files of the suite; of a folder with many tests, its files."""

    def inside(folder: Path) -> list[Path]:
        found = sorted(path for path in folder.iterdir() if path.name.startswith('test_'))
        large = [path for path in found if path.is_dir() and (len(list(path.glob('test_*'))) > FEW)]
        return [part for path in found for part in (inside(path) if path in large else [path])]

    return [str(path.relative_to(checkout)) for path in inside(checkout / 'tests')]


def compare(checkout: Path, only: list[str], seconds: float) -> dict[str, list[str]]:
    """The lists of a suite: what passes one way only, what neither, what was not compared, and what passes both."""
    lists: dict[str, list[str]] = dict(only_without=[], only_with=[], neither=[], not_compared=[], both=[])
    for part in [part for part in parts(checkout) if any(text in part for text in only)]:
        passed, ended = zip(*(run(checkout, [part], way, seconds) for way in WAYS))
        differ = []
        for name in sorted(passed[0].keys() | passed[1].keys()):
            given = [some.get(name) for some in passed]
            if None in given and not all(ended):
                lists['not_compared'].append(name)
            elif given[0] != given[1]:
                differ.append(name)
            else:
                lists[KINDS[tuple(given)]].append(name)
        if not all(ended):
            lists['not_compared'].append(f'{part}: the rest')
        again = [run(checkout, differ, way, seconds)[0] for way in WAYS if differ]
        for name in differ:
            given = [some.get(name, False) for some in again]
            lists[KINDS[tuple(given)]].append(name)
            if given[0] != given[1]:
                print(f'  {KINDS[tuple(given)].replace("_", " ")}: {name}', flush=True)
        print(f'{part}: {sum(passed[0].values())} pass without, {sum(passed[1].values())} with', flush=True)
    return lists


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('checkouts', nargs='+', type=Path, help='of mmengine 0.10.7 and of mmpretrain 1.2.0')
    parser.add_argument('--only', nargs='+', default=[''], metavar='TEXT', help='the parts whose path has one of these')
    parser.add_argument('--seconds', type=float, default=900, help='that a part may take, each way (900)')
    args = parser.parse_args()
    unexpected = []
    for checkout in args.checkouts:
        lists = compare(checkout.resolve(), args.only, args.seconds)
        print(f'\n{checkout.name}: {len(lists.pop("both"))} tests pass both ways')
        for name, tests in lists.items():
            print(f'{name.replace("_", " ")}: {len(tests)}')
            for test in tests:
                print(f'  {test}' + (f' ({DELIBERATE[test]})' if test in DELIBERATE else ''))
        unexpected += [test for test in lists['only_without'] if test not in DELIBERATE]
    return int(bool(unexpected))


if __name__ == '__main__':
    sys.exit(main())
