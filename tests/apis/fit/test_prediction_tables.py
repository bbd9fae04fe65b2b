"""Tables of predictions: names as they were given, and a column for each class."""

import csv

import numpy as np
import pytest

from mmdensenet.apis.fit.image_names import Unlabelled
from mmdensenet.apis.fit.prediction_tables import write_submission, write_table


def rows_of(file) -> list[list[str]]:
    with file.open(encoding='utf-8', newline='') as text:
        return list(csv.reader(text))


def test_columns_have_names_of_their_own(tmp_path):
    write_table(tmp_path / 't.csv', 'image', ['a, b', 'c'], ['image', 'ö'], np.array([[0.5, 1 / 3], [1e-9, 1]]))
    assert rows_of(tmp_path / 't.csv') == [
        ['image (image)', 'image', 'ö'],
        ['a, b', '0.5', '0.333333333'],
        ['c', '1e-09', '1'],
    ]
    with pytest.raises(ValueError, match='shorter'):
        write_table(tmp_path / 't.csv', 'image', ['a', 'b', 'c'], ['x'], np.zeros((2, 1)))


@pytest.mark.parametrize('classes', [['cat', 'dog'], None])
def test_images_without_labels_are_called_as_in_their_table(tmp_path, classes):
    class Inferencer:
        def __call__(self, paths):
            assert paths == ['/data/b.png', '/data/a.png']
            return [dict(pred_scores=np.array([0.25, 0.75])), dict(pred_scores=np.array([1.0, 0.0]))]

    inferencer = Inferencer()
    inferencer.classes = classes
    images = Unlabelled('id', [('7', '/data/b.png'), ('3', '/data/a.png')])
    write_submission(tmp_path / 's.csv', inferencer, images)
    assert rows_of(tmp_path / 's.csv') == [
        ['id', *(classes or ['0', '1'])],
        ['7', '0.25', '0.75'],
        ['3', '1', '0'],
    ]
