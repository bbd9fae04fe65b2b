"""From your own images to a model: look, split, write a config, train, decide, judge, hand over."""

import argparse

from .shared import add_debug, arguments


def complete_network(prefix: str, **_) -> list[str]:
    """Complete a network for a shell: the first parts of the names of our configs."""
    from .config_files import config_names

    return sorted({name.partition('_')[0] for name in config_names()})


def names(text: str) -> list[str]:
    return [name.strip() for name in text.split(',') if name.strip()]


COMPUTES_LONG = True
NEEDS = 'mmdensenet.apis.fit'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        'data',
        metavar='DATA',
        help='folder of class folders (with or without train, val, test), or a CSV, TSV, Parquet table',
    )
    parser.add_argument('--images', metavar='ROOT', help="the folder of the table's images (the table's)")
    parser.add_argument('--work-dir', help='where everything is written (work_dirs/fit_NAME)')
    parser.add_argument('--dry-run', action='store_true', help='stop after the config is written')
    parser.add_argument('--minutes', type=float, metavar='N', help='that all of it may take')
    parser.add_argument(
        '--weights', metavar='FILE', help="a file or URL to start from, in any layout; none to start anew (ImageNet's)"
    )
    network = parser.add_argument(
        '--network',
        metavar='NAME',
        help='densenet121, densenet169, densenet-bc-l40-k12, rdnet-tiny or another of `mmdensenet configs list`, or a '
        'config file (by the size of the images; that of the weights)',
    )
    network.completer = complete_network  # argcomplete's
    table = parser.add_argument_group('what the table means, where it is not found by itself')
    table.add_argument('--path', metavar='COLUMN', help='the column of paths')
    table.add_argument('--label', metavar='COLUMN', help='the column of classes')
    table.add_argument('--labels', type=names, metavar='A,B,C', help='a column per label; or the names of the classes')
    table.add_argument(
        '--split', metavar='COLUMN', help='the column of train, val and test; or the samples.csv of an earlier call'
    )
    policies = ('positive', 'negative', 'ignore')
    table.add_argument('--uncertain', choices=policies, help='what -1 counts as')
    table.add_argument('--missing', choices=policies, help='what an empty label counts as')
    parser.add_argument(
        '--group',
        metavar='WHAT',
        help="what stays together, such as a patient's images: a column; of paths folder, name, none or a regular "
        "expression with brackets, such as '(P\\d+)_'",
    )
    parser.add_argument('--folds', type=int, metavar='K', help='cross-validation')
    parser.add_argument('--allow-leak', action='store_true', help='go on though a given split has leaks')
    parser.add_argument(
        '--subgroups', type=names, default=[], metavar='A,B,C', help='columns to judge by, such as sex,site'
    )
    parser.add_argument('--operating-point', metavar='RULE', help='youden, f1, sensitivity=X or specificity=X (youden)')
    parser.add_argument('--predict', metavar='IMAGES', help='folder or table of unlabelled images to predict')
    add_debug(parser)


def ask(question: str, key: str, choices: tuple[str, ...]) -> str:
    """Ask on a terminal; elsewhere raise the question as an error that names the option."""
    import sys

    from mmdensenet.apis.fit.samples import refuse

    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return refuse(question, key, choices)
    print(f'{question} ({", ".join(choices)}) ', end='', file=sys.stderr, flush=True)
    answer = sys.stdin.readline().strip().lower()
    fitting = [choice for choice in choices if answer and choice.startswith(answer)]
    return fitting[0] if len(fitting) == 1 else refuse(question, key, choices)


def run(args: argparse.Namespace) -> None:
    import contextlib
    import sys

    from mmdensenet.apis.fit import fit
    from mmdensenet.terminal import counting

    out = sys.stdout
    # logs of libraries go to standard error, the steps to standard output
    with counting('reading') as progress, contextlib.redirect_stdout(sys.stderr):
        printed = lambda line: print(line, file=out, flush=True)  # noqa: E731
        fit(**arguments(args), ask=ask, report=printed, progress=progress)
