"""Train, decide and judge a model on a folder or table of images, in one call."""

from .run import Fitted, fit

__all__ = ['Fitted', 'fit']
