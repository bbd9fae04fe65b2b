"""Draw what goes into training and what came out of it, as PNG."""

import argparse

from .shared import CONFIG_KEYS, TRAIN_KEYS, add_cfg_options, add_config, add_debug, arguments

NEEDS = 'mmdensenet.apis.visualize'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')

    data = _add(commands, 'data', 'what the training pipeline feeds the model: several draws of some images')
    data.add_argument('--images', type=int, default=4, metavar='N', help='images, chosen at random (4)')
    data.add_argument('--indices', type=int, nargs='+', metavar='I', help='images, by their place in the data set')
    data.add_argument('--draws', type=int, default=5, metavar='N', help='draws of each image (5)')
    data.add_argument('--seed', type=int, default=0, metavar='N', help='of the choice and the draws (0)')

    schedule = _add(commands, 'schedule', 'learning rate and momentum over training')
    schedule.add_argument('--dataset-size', type=int, metavar='N', help='training images, if they are not here')
    schedule.add_argument('--world-size', type=int, default=1, metavar='N', help='processes (1)')

    curves = _add(commands, 'curves', 'losses and metrics of several runs together', config=False)
    curves.add_argument('work_dirs', nargs='+', metavar='WORK_DIR', help='work directory of a run')
    curves.add_argument('--names', nargs='+', metavar='NAME', help="of the runs (the folders' names)")
    curves.add_argument('--metrics', nargs='+', metavar='PATTERN', help="which curves: loss 'accuracy/*' lr")

    cam = _add(commands, 'cam', 'where the evidence for a class is: Grad-CAM and Grad-CAM++', checkpoint=True)
    cam.add_argument('images', nargs='+', metavar='IMAGE', help='file or folder')
    cam.add_argument(
        '--methods',
        nargs='+',
        default=['gradcam', 'gradcam++'],
        metavar='METHOD',
        help='of gradcam, gradcam++ and layercam (the first two)',
    )
    cam.add_argument('--class', dest='target', metavar='CLASS', help='name or number (the predicted class)')
    cam.add_argument('--layer', metavar='MODULE', help='such as backbone.stages.1 (the final features)')

    confusion = _add(commands, 'confusion', 'which classes are taken for which')
    confusion.add_argument('checkpoint', nargs='?', help='checkpoint file or URL to test')
    confusion.add_argument('--predictions', metavar='FILE', help='instead: what test.py --out wrote')
    confusion.add_argument(
        '--normalise', choices=['true', 'predicted', 'none'], default='true', help='percent of (true)'
    )

    embedding = _add(commands, 'embedding', 't-SNE of the pooled features', checkpoint=True)
    embedding.add_argument('--split', choices=['train', 'val', 'test'], default='test', help='which images (test)')
    embedding.add_argument('--images', type=int, default=1000, metavar='N', help='at most, balanced (1000)')
    embedding.add_argument('--classes', type=int, default=20, metavar='N', help='at most, the first (20)')
    embedding.add_argument('--perplexity', type=float, default=30, metavar='P', help='neighbours that count (30)')
    embedding.add_argument('--seed', type=int, default=0, metavar='N', help='of the choice and of t-SNE (0)')

    reuse = _add(commands, 'reuse', "which earlier features each layer reads: the paper's figure 5", checkpoint=True)
    reuse.add_argument('--scale', choices=['reader', 'block', 'none'], default='reader', help='relative to (reader)')


def _add(commands, name: str, text: str, config: bool = True, checkpoint: bool = False) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=f'{text[0].upper()}{text[1:]}.')
    if config:
        add_config(parser)
        loader = 'train_dataloader' if name in ('data', 'schedule') else 'test_dataloader'
        add_cfg_options(parser, loader, TRAIN_KEYS if name == 'schedule' else CONFIG_KEYS)
    if checkpoint:
        parser.add_argument('checkpoint', help='checkpoint file or URL')
    parser.add_argument('--out', metavar='FILE', default=f'{name}.png', help=f'the picture ({name}.png)')
    add_debug(parser)
    return parser


def run(args: argparse.Namespace) -> None:
    from mmdensenet.apis import visualize
    from mmdensenet.results.figures import picture_file

    given = arguments(args, 'command')
    if 'cfg_options' in given:
        given['options'] = given.pop('cfg_options')
    picture_file(args.out)
    drawn = getattr(visualize, f'draw_{args.command}')(**given)
    if args.command == 'confusion':
        drawn, pairs = drawn
        for true, predicted, number in pairs:
            print(f'true {true}, predicted {predicted}: {number}')
    print(f'The picture is {drawn}')
