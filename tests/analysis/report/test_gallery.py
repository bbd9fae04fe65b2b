"""mmdensenet.analysis.report.gallery: which errors are shown."""

import numpy as np
from made_scores import make

from mmdensenet.analysis.report.gallery import find_mistakes


def test_the_most_confident_errors():
    scores = make(np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7]]), np.array([1, 1, 1, 0]))
    assert find_mistakes(scores, 5) == [(0, 0), (3, 1), (1, 0)]
    assert find_mistakes(scores, 1) == [(0, 0)]
    labels = make(np.array([[0.9, 0.05], [0.6, 0.6], [0.4, 0.6]]), np.array([[0, 1], [-1, 0], [0, 1]], float))
    assert find_mistakes(labels, 5) == [(0, 1), (1, 1)], 'the missed label is the surer mistake; unknown ones are none'
