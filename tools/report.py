#!/usr/bin/env python
"""Write a report on a checkpoint: one HTML file with metrics, charts and errors, which needs no network."""

from mmdensenet_cli.start import start

if __name__ == '__main__':
    start('report')
