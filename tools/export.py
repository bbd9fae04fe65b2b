#!/usr/bin/env python
"""Export a checkpoint as a file for ONNX Runtime, OpenVINO or torch.export, and compare the file with PyTorch."""

from mmdensenet_cli.start import start

if __name__ == '__main__':
    start('export')
