"""The report's section on scores: the order of the classes, and the most frequent confusions."""

import numpy as np
from made_scores import make, several

from mmdensenet.analysis.report import results_section as section
from mmdensenet.results.bootstrap import Resampling

#: rows are true classes, columns predicted ones
MATRIX = np.array([[6, 3, 1, 0, 0], [0, 4, 0, 0, 0], [0, 2, 2, 0, 0], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0]])


def scores_of(matrix):
    truth, predicted = (np.repeat(axis.ravel(), matrix.ravel()) for axis in np.indices(matrix.shape))
    return make(np.where(np.arange(len(matrix)) == predicted[:, None], 0.6, 0.1), truth)


def test_one_class_an_image():
    found = section.results_section(scores_of(MATRIX), Resampling(23, None, 0, 0), 0)
    # F1 = 2 TP / (images + predicted): 12 / 17, 8 / 14, 4 / 8, 2 / 6, and none of a class without images
    assert [each.name for each in found['worst']] == ['class 3', 'class 2', 'class 1', 'class 0']
    assert found['not_there'] == ['class 4'] and not found['rest']
    assert found['predicted_as'] == [
        ('class 0', 60.0, 'class 1 (3), class 2 (1)'),
        ('class 1', 100.0, ''),
        ('class 2', 50.0, 'class 1 (2)'),
        ('class 3', 20.0, 'class 0 (1), class 1 (1), class 2 (1), others (1)'),
    ]
    assert found['confused'][:2] == [('class 0', 'class 1', 3, 30.0), ('class 2', 'class 1', 2, 50.0)]
    assert len(found['confused']) == 7


def test_a_long_table_is_folded_and_pairs_of_one_image_are_left_out():
    count = 25
    matrix = np.eye(count, dtype=int) * 3 + np.roll(np.eye(count, dtype=int), 1, 1)
    matrix[0, 1] += 1
    found = section.results_section(scores_of(matrix), Resampling(int(matrix.sum()), None, 0, 0), 0)
    assert (len(found['worst']), len(found['rest'])) == (section.SHOWN_CLASSES, count - section.SHOWN_CLASSES)
    assert found['confused'] == [('class 0', 'class 1', 2, 40.0)]


def test_several_labels():
    scores = several(100)
    found = section.results_section(scores, Resampling(100, None, 0, 0), 0)
    assert found['confusion'] is found['predicted_as'] is found['confused'] is None
    f1 = [each.metrics['F1'].value for each in found['worst']]
    assert len(f1) == 3 and f1 == sorted(f1) and 'each label' in found['curves_note']
