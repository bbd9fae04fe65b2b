"""Hooks: a config names one as ``mmdensenet.X``."""

from .bad_images_hook import BadImagesHook
from .check_keys_hook import CheckKeysHook
from .check_labels_hook import CheckLabelsHook
from .curves_hook import CurvesHook
from .decisions_hook import DecisionsHook
from .exact_resume_hook import ExactResumeHook
from .finite_hook import FiniteHook
from .head_first_hook import HeadFirstHook
from .latest_best_hook import LatestBestCheckpointHook
from .progress_hook import ProgressHook
from .terminal_hook import TerminalHook
from .visualization_hook import VisualizationHook

__all__ = [
    'BadImagesHook',
    'CheckKeysHook',
    'CheckLabelsHook',
    'CurvesHook',
    'DecisionsHook',
    'ExactResumeHook',
    'FiniteHook',
    'HeadFirstHook',
    'LatestBestCheckpointHook',
    'ProgressHook',
    'TerminalHook',
    'VisualizationHook',
]
