#!/usr/bin/env python
"""From a folder or a table of images to a model."""

from mmdensenet_cli.start import start

if __name__ == '__main__':
    start('fit')
