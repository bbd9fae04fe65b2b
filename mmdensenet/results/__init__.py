"""What comes out of training and testing: predictions, their statistics, curves, figures."""

from .ranking import RankingMetric

__all__ = ['RankingMetric']
