#!/usr/bin/env python
"""Train a model from a config."""

from mmdensenet_cli.start import start

if __name__ == '__main__':
    start('train')
