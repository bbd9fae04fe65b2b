"""Convert a DenseNet checkpoint of any library, and say what was in it."""

import argparse

from .shared import add_debug, arguments

NEEDS = 'mmdensenet.convert'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('source', help='file or URL: .pth, .pt, .ckpt, .bin or .safetensors')
    parser.add_argument('target', help='file to write: .safetensors, .pth or .pt')
    parser.add_argument('--in-channels', type=int, metavar='N', help='adapt the first convolution to N channels')
    parser.add_argument('--num-classes', type=int, metavar='N', help='leave the head out unless it is for N classes')
    parser.add_argument('--prefix', help='which model, where the file has several: what its keys start with')
    parser.add_argument('--to', choices=['mmdensenet', 'torchvision'], default='mmdensenet', help='layout to write')
    parser.add_argument('--partial', action='store_true', help='accept weights with tensors missing or left over')
    parser.add_argument(
        '--verify',
        nargs='*',
        metavar='IMAGE',
        help="compare logits with the source's library, on random input or images",
    )
    add_debug(parser)


def run(args: argparse.Namespace) -> None:
    from mmdensenet.convert import convert_checkpoint

    for name in ('in_channels', 'num_classes'):
        value = getattr(args, name)
        if value is not None and value < 1:
            from mmdensenet.errors import UserError

            raise UserError(f'--{name.replace("_", "-")} {value}: give 1 or more.')
    print(convert_checkpoint(**arguments(args)))
    print(f'{"written:":14}{args.target}')
