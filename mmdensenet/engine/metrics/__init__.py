"""Metrics: a config names one as ``mmdensenet.X``."""

from .ranking import RankingMetric

__all__ = ['RankingMetric']
