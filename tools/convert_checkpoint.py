#!/usr/bin/env python
"""Convert a DenseNet checkpoint of any library, and say what was in it."""

import argparse


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
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
    parser.add_argument('--debug', action='store_true', help='show the traceback of a mistake')
    return parser.parse_args()


def convert(args: argparse.Namespace) -> None:
    from mmdensenet.convert import convert_checkpoint

    for name in ('in_channels', 'num_classes'):
        value = getattr(args, name)
        if value is not None and value < 1:
            from mmdensenet.errors import UserError

            raise UserError(f'--{name.replace("_", "-")} {value}: give 1 or more.')
    report = convert_checkpoint(
        args.source,
        args.target,
        in_channels=args.in_channels,
        num_classes=args.num_classes,
        prefix=args.prefix,
        to=args.to,
        partial=args.partial,
        verify=args.verify,
    )
    print(report)
    print(f'{"written:":14}{args.target}')


def main() -> None:
    args = parse_args()
    # What is heavy is imported after the arguments are parsed, so that --help answers at once.
    from mmdensenet.cli import run_tool

    run_tool(convert, args)


if __name__ == '__main__':
    main()
