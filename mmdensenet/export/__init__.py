"""Exports models to files for other runtimes, and runs such files."""

from .fold import FoldedDenseNet, ScoresOf, folded, why_not_foldable
from .metadata import Metadata
from .runtime import ExportedModel

__all__ = ['ExportedModel', 'FoldedDenseNet', 'Metadata', 'ScoresOf', 'folded', 'why_not_foldable']
