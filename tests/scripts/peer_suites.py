"""Run mmengine's and mmpretrain's own tests with and without mmdensenet, and compare.

    git clone --branch v0.10.7 https://github.com/open-mmlab/mmengine
    git clone --branch v1.2.0 https://github.com/open-mmlab/mmpretrain
    python tests/scripts/peer_suites.py mmengine mmpretrain

Each part of a suite runs in a process of its own, once as it is and once with ``import mmdensenet`` first. Tests that
differ run once more, alone, both ways; what differs again is printed: tests that pass only without mmdensenet, tests
that pass only with it, and those that were not compared because their part took too long. The status is 1 if one of
the first kind is not in :data:`DELIBERATE`. It takes about an hour on two cores. The file is also the plugin of pytest
that writes the outcomes.
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
    'tests/test_utils/test_package_utils.py::test_get_installed_path': 'it mocks pkg_resources, which is not used',
}
WAYS = ('without', 'with')


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
    """Folders and files of the suite; of the models, which are many, one level further down."""
    found = []
    for path in sorted((checkout / 'tests').iterdir()):
        inner = sorted(path.iterdir()) if path.name == 'test_models' else [path]
        found += [str(p.relative_to(checkout)) for p in inner if p.name.startswith('test_')]
    return found


def compare(checkout: Path, only: str, seconds: float) -> dict[str, list[str]]:
    """The three lists of a suite, and ``passed``, what passes both ways."""
    lists: dict[str, list[str]] = dict(only_without=[], only_with=[], not_compared=[], passed=[])
    for part in [part for part in parts(checkout) if only in part]:
        passed, ended = zip(*(run(checkout, [part], way, seconds) for way in WAYS))
        differ = []
        for name in sorted(passed[0].keys() | passed[1].keys()):
            given = [some.get(name) for some in passed]
            if None in given and not all(ended):
                lists['not_compared'].append(name)
            elif given[0] != given[1]:
                differ.append(name)
            elif given[0]:
                lists['passed'].append(name)
        if not all(ended):
            lists['not_compared'].append(f'{part}: the rest')
        for name in differ:
            given = [run(checkout, [name], way, seconds)[0].get(name, False) for way in WAYS]
            if given[0] != given[1]:
                lists['only_without' if given[0] else 'only_with'].append(name)
        print(f'{part}: {sum(map(bool, passed[0].values()))} pass without, {sum(passed[1].values())} with', flush=True)
    return lists


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('checkouts', nargs='+', type=Path, help='of mmengine 0.10.7 and of mmpretrain 1.2.0')
    parser.add_argument('--only', default='', metavar='TEXT', help='the parts whose path has this text')
    parser.add_argument('--seconds', type=float, default=900, help='that a part may take, each way (900)')
    args = parser.parse_args()
    unexpected = []
    for checkout in args.checkouts:
        lists = compare(checkout.resolve(), args.only, args.seconds)
        print(f'\n{checkout.name}: {len(lists.pop("passed"))} tests pass both ways')
        for name, tests in lists.items():
            print(f'{name.replace("_", " ")}: {len(tests)}')
            for test in tests:
                print(f'  {test}' + (f' ({DELIBERATE[test]})' if test in DELIBERATE else ''))
        unexpected += [test for test in lists['only_without'] if test not in DELIBERATE]
    return int(bool(unexpected))


if __name__ == '__main__':
    sys.exit(main())
