#!/usr/bin/env python
"""Serve a model on a local web page to drop images on, and as JSON."""

from mmdensenet_cli.start import start

if __name__ == '__main__':
    start('serve')
