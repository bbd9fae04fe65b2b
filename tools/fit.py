#!/usr/bin/env python
"""Make a model from a folder or a table of images."""

from mmdensenet_cli.start import start

if __name__ == '__main__':
    start('fit')
