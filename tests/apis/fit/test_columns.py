import numpy as np
import own_images
import pytest
from own_images import labelled

from mmdensenet.apis.fit.image_names import named_images
from mmdensenet.errors import UserError


@pytest.mark.parametrize('name', ['split', 'Set', 'partition'])
@pytest.mark.parametrize(
    'values', [('0', '1', '2'), ('A', 'B', 'C'), ('develop', 'internal', 'external'), ('0', '1', '1')]
)
def test_parts_in_other_words_are_neither_overlooked_nor_labels(tmp_path, name, values):
    def row(i):
        return [f'{i}.png', i % 2, i % 3 % 2, values[i % 3]]

    with pytest.raises(
        UserError, match=f"column '{name}' seems to give the parts, but .* none of train.*none if there"
    ):
        labelled(tmp_path, ['image', 'A', 'B', name], row)
    samples = labelled(tmp_path, ['image', 'A', 'B', name], row, split='none')
    assert samples.classes == ['A', 'B']
    assert samples.parts is None


def test_parts_with_a_word_behind_and_folds(tmp_path):
    words = ('Train set', 'validation_set', 'Test Split')
    samples = labelled(tmp_path, ['image', 'label', 'part'], lambda i: [f'{i}.png', 'ab'[i % 2], words[i % 3]])
    assert samples.parts == ['train', 'val', 'test'] * 4
    samples = labelled(tmp_path, ['image', 'A', 'B', 'kfold'], lambda i: [f'{i}.png', i % 2, i % 3 % 2, i // 6])
    assert samples.classes == ['A', 'B'], 'a fold is no label'
    assert "not used: the columns 'kfold'" in samples.facts
    assert "'kfold' has no parts: give a column of train, val and test, split=COLUMN, or folds=K" in samples.facts


def test_a_column_that_is_something_else_has_no_parts(tmp_path):
    """Classes may be called train and test, in the column of the label that is said."""
    samples = labelled(tmp_path, ['image', 'kind'], lambda i: [f'{i}.png', ('train', 'test')[i % 2]], label='kind')
    assert samples.parts is None and samples.classes == ['test', 'train']
    samples = labelled(tmp_path, ['image', 'label', 'kind'], lambda i: [f'{i}.png', 'ab'[i % 2], 'train'])
    assert samples.parts is None, 'a column of one word and of no name that says so'


def test_columns_of_ids_are_patients_or_asked_for(tmp_path):
    samples = labelled(
        tmp_path,
        ['image', 'Patient Name', 'Patient Age', 'label'],
        lambda i: [f'{i}.png', f'N{i // 3}', i % 7, 'ab'[i % 2]],
    )
    assert samples.groups[:4] == ['N0', 'N0', 'N0', 'N1']

    def row(i):
        return [f'{i}.png', f'e{i // 3}', 'ab'[i % 2]]

    with pytest.raises(UserError, match=r"column 'eye_id' has ids that repeat, such as 'e0'.*group=eye_id, or none"):
        labelled(tmp_path, ['image', 'eye_id', 'label'], row)
    assert labelled(tmp_path, ['image', 'eye_id', 'label'], row, ask=lambda *_: 'eye_id').groups[3] == 'e1'
    alone = labelled(tmp_path, ['image', 'eye_id', 'label'], row, ask=lambda *_: 'none')
    assert alone.groups is None and alone.alone
    assert labelled(tmp_path, ['image', 'eye_id', 'label'], row, group='none').groups is None
    samples = labelled(tmp_path, ['image', 'class_id', 'label'], lambda i: [f'{i}.png', i % 3, 'abc'[i % 3]])
    assert samples.groups is None, 'the number of the class'


@pytest.mark.parametrize('ids', [('007', '7', '8'), ('p7', 'P7', 'P8')])
def test_two_spellings_of_a_patient_are_refused(tmp_path, ids):
    with pytest.raises(UserError, match=f"'patient_id' has '{ids[0]}' and '{ids[1]}', which are likely one"):
        labelled(tmp_path, ['image', 'patient_id', 'label'], lambda i: [f'{i}.png', ids[i % 3], 'ab'[i % 2]])


def test_hexadecimal_ids_are_different_patients(tmp_path):
    ids = ('00a1', '0a01', 'a010')
    samples = labelled(tmp_path, ['image', 'patient_id', 'label'], lambda i: [f'{i}.png', ids[i % 3], 'ab'[i % 2]])
    assert len(set(samples.groups)) == 3


def test_headers_that_are_rows_and_the_column_that_is_called_so(tmp_path):
    with pytest.raises(UserError, match='has no header: its first row is of the image 0'):
        labelled(tmp_path, ['0', 'a'], lambda i: [max(i, 1), 'ab'[i % 2]])
    with pytest.raises(UserError, match='has no header: its first row is of the image 0'):  # of images to predict
        own_images.table(tmp_path / 'new.csv', ['0'], [['1'], ['2']])
        named_images(tmp_path / 'new.csv', tmp_path)
    own_images.write(tmp_path / 'image.png', np.zeros((4, 4), np.uint8))
    own_images.table(tmp_path / 'new.csv', ['image'], [['1'], ['2']])
    assert [name for name, _ in named_images(tmp_path / 'new.csv', tmp_path).pairs] == ['1', '2']
    assert labelled(tmp_path, ['0', '1'], lambda i: [i, 'ab'[i % 2]]).images[0] == '0', 'as pandas numbers columns'
    samples = labelled(tmp_path, ['', 'image', 'label'], lambda i: [i, f'{i}.png', 'ab'[i % 2]])
    assert samples.images[1] == '1.png'
