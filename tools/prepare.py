#!/usr/bin/env python
"""Copy a config's data sets into tar shards for training, with smaller images or byte for byte."""

from mmdensenet_cli.start import start

if __name__ == '__main__':
    start('prepare')
