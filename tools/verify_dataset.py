#!/usr/bin/env python
"""Check all images and labels of a config's data sets before a run; the status is 1 when something is wrong."""

from mmdensenet_cli.start import start

if __name__ == '__main__':
    start('verify')
