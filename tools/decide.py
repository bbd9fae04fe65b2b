#!/usr/bin/env python
"""Fit temperature, operating points, conformal sets and an out-of-distribution threshold."""

from mmdensenet_cli.start import start

if __name__ == '__main__':
    start('decide')
