#!/usr/bin/env python
"""Draw what goes into training and what came out of it, as PNG."""

from mmdensenet_cli.start import start

if __name__ == '__main__':
    start('visualize')
