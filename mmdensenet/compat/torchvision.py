"""Faults of torchvision."""

import ctypes
import importlib.util
import sys
from pathlib import Path

import torch

from .faults import Fault

OPERATORS = Fault(
    what='importing torchvision next to a CPU build of torch raises "operator torchvision::nms does not exist", '
    'because torchvision on PyPI is compiled for CUDA and its library does not load',
    versions='torchvision 0.15 and newer',
    until='PyPI has a torchvision for CPUs',
    targets=('torch.library:Library.define',),
)

#: a Library undoes its definitions when it is collected
_DECLARED: list[torch.library.Library] = []


def _loads(library: Path) -> bool:
    try:
        ctypes.CDLL(str(library))
    except OSError:
        return False
    return True


@OPERATORS.repaired_by
def declare_torchvision_operators() -> None:
    """Declare the schemas that torchvision's Python code refers to; its transforms need no compiled code."""
    if 'torchvision' in sys.modules:
        return
    spec = importlib.util.find_spec('torchvision')
    libraries = [p for folder in (spec and spec.submodule_search_locations) or [] for p in Path(folder).glob('_C*.so')]
    if not libraries or _loads(libraries[0]):
        return
    schemas = {
        'nms': '(Tensor dets, Tensor scores, float iou_threshold) -> Tensor',
        'qnms': '(Tensor dets, Tensor scores, float iou_threshold) -> Tensor',
    }
    library = torch.library.Library('torchvision', 'FRAGMENT')
    for name, schema in schemas.items():
        if not hasattr(torch.ops.torchvision, name):  # declaring one twice raises
            library.define(name + schema)
    _DECLARED.append(library)
