#!/usr/bin/env python
"""Convert a DenseNet checkpoint of any library, and say what was in it."""

from mmdensenet_cli.start import start

if __name__ == '__main__':
    start('convert')
