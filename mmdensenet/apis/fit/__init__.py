"""From images to a model that one can answer for."""

from .run import Fitted, fit

__all__ = ['Fitted', 'fit']
