#!/usr/bin/env python
"""Compile the C++ kernels of the dense block for exactly this CPU: once, in some ten seconds, into the user's cache.

They are then preferred to those that the installation compiled for all CPUs of this kind (float32 and bfloat16).
MMDENSENET_KERNELS=plain goes back to plain torch. GPUs need nothing of this.
"""

import argparse


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--compiler', help='g++ or a compiler that takes its flags (default: $CXX, else g++)')
    parser.add_argument('--debug', action='store_true', help='show the traceback of a mistake')
    return parser.parse_args()


def build_kernels(args: argparse.Namespace) -> None:
    from mmdensenet.errors import UserError
    from mmdensenet.ops.steps.native import build

    try:
        print(f'built {build.build_native(args.compiler)}')
    except RuntimeError as error:
        raise UserError(str(error)) from None


if __name__ == '__main__':
    arguments = parse_args()

    from mmdensenet.cli import run_tool

    run_tool(build_kernels, arguments)
