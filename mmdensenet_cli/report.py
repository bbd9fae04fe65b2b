"""Write a report on a checkpoint: one HTML file with metrics, charts and errors, which needs no network."""

import argparse

from .shared import add_cfg_options, add_config, add_debug, arguments

NEEDS = 'mmdensenet.apis.report'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    parser.add_argument('checkpoint', help='checkpoint file or URL')
    parser.add_argument('--out', metavar='FILE', help='the page (report.html), or the checklist (checklist-NAME.md)')
    parser.add_argument(
        '--checklist',
        choices=['claim', 'tripod', 'stard'],
        help='write a checklist for authors instead: CLAIM 2024, TRIPOD+AI or STARD 2015, with what is known filled in',
    )
    parser.add_argument('--predictions', metavar='FILE', help='what `mmdensenet test --out` wrote, instead of a test')
    parser.add_argument('--work-dir', help="of the training, for its curves (the checkpoint's folder)")
    parser.add_argument('--bootstrap', type=int, default=1000, metavar='N', help='resamplings for intervals (1000)')
    parser.add_argument('--gallery', type=int, default=12, metavar='N', help='how many errors are shown (12)')
    parser.add_argument('--no-measure', action='store_true', help='leave out the measurement of speed and memory')
    parser.add_argument('--device', help='for activation maps and speed; by default the GPU if there is one')
    parser.add_argument('--seed', type=int, default=0, help='of the resamplings (0)')
    add_cfg_options(parser)
    add_debug(parser)


def run(args: argparse.Namespace) -> None:
    if args.checklist:
        from mmdensenet.apis.checklist import make_checklist

        out = args.out or f'checklist-{args.checklist}.md'
        options = arguments(args, 'out', 'checklist', 'work_dir', 'gallery', 'no_measure')
        make_checklist(**options, name=args.checklist, out=out)
        print(f'The checklist is in {out}')
        return
    from mmdensenet.apis.report import make_report

    out = args.out or 'report.html'
    took = make_report(**arguments(args, 'out', 'checklist'), out=out)
    print(f'The report is in {out} ({took})')
