"""Check all images and labels of a config's data sets before a run; the status is 1 when something is wrong."""

import argparse
import sys

from .shared import add_cfg_options, add_config, add_debug, arguments

NEEDS = 'mmdensenet.apis.verify'

#: kind of problem -> headline, in the order in which they are printed
HEADLINES = {
    'unreadable': 'images cannot be read',
    'unlabelled': 'parts have no labels, and cannot be trained with or validated',
    'label': 'labels are outside the classes',
    'head': 'heads do not fit their data set',
    'empty': 'classes have no image',
    'duplicate across splits': 'images are in several splits',
    'group across splits': 'groups, such as patients, are in several splits',
    'depth': 'parts use few of their 16 bits',
    'duplicate': 'images are there more than once',
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    parser.add_argument('checkpoint', nargs='?', help='compare its classes with those of the data sets')
    parser.add_argument('--workers', type=int, help='processes that read (one per core)')
    parser.add_argument('--show', type=int, default=10, help='lines for each kind of problem (10); 0 for all')
    parser.add_argument('--out', metavar='FILE', help='write all problems to a file (.json)')
    add_cfg_options(parser, 'train_dataloader')
    add_debug(parser)


def run(args: argparse.Namespace) -> None:
    import json
    from pathlib import Path

    from mmdensenet.apis.verify import verify_dataset
    from mmdensenet.terminal import counting

    if args.out:  # a file that cannot be written is found now, not after all images are read
        out = Path(args.out)
        out.parent.mkdir(parents=True, exist_ok=True)
        there = out.exists()
        out.open('a').close()
        if not there:
            out.unlink()
    with counting('reading') as progress:
        report = verify_dataset(**arguments(args, 'show', 'out'), progress=progress)
    if args.out:
        content = dict(images=report.images, problems=report.problems)
        out.write_text(json.dumps(content, indent=1) + '\n')
    print('; '.join(f'{name}: {number:,} images' for name, number in report.images.items()))
    for kind, headline in HEADLINES.items():
        lines = report.problems.get(kind, [])
        if lines:
            print(f'\n{len(lines)} {headline}:')
            shown = lines[: args.show or None]
            print('\n'.join(f'  {line}' for line in shown))
            if len(lines) > len(shown):
                print(f'  and {len(lines) - len(shown)} more (--show 0, or --out FILE)')
    if not report.ok:
        sys.exit(1)
    print('Nothing is wrong.')
