"""Recognises, renames and checks DenseNet and RDNet weights of other libraries."""

from .convert import Report, convert_state_dict
from .files import convert_checkpoint, read_checkpoint
from .layouts import to_torchvision

__all__ = ['Report', 'convert_checkpoint', 'convert_state_dict', 'read_checkpoint', 'to_torchvision']
