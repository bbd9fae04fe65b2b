"""Hooks: a config names one as ``mmdensenet.X``."""

from .check_labels_hook import CheckLabelsHook
from .checkpoint_coverage_hook import CheckpointCoverageHook
from .curves_hook import CurvesHook
from .exact_resume_hook import ExactResumeHook
from .progress_hook import ProgressHook
from .visualization_hook import VisualizationHook

__all__ = [
    'CheckLabelsHook',
    'CheckpointCoverageHook',
    'CurvesHook',
    'ExactResumeHook',
    'ProgressHook',
    'VisualizationHook',
]
