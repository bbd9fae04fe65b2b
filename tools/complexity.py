#!/usr/bin/env python
"""Parameters and multiply-adds of each stage, and the memory of a training step, for both engines side by side."""

from mmdensenet_cli.start import start

if __name__ == '__main__':
    start('complexity')
