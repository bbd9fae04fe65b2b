#!/usr/bin/env python
"""Predict the classes of images."""

from mmdensenet_cli.start import start

if __name__ == '__main__':
    start('predict')
