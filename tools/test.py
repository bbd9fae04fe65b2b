#!/usr/bin/env python
"""Test (and evaluate) a checkpoint."""

from mmdensenet_cli.start import start

if __name__ == '__main__':
    start('test')
