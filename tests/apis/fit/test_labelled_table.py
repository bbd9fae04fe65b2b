import numpy as np
import own_images
import pytest
from own_images import table, write

from mmdensenet.apis.fit.labelled_table import read_labelled_table
from mmdensenet.apis.fit.run import refuse
from mmdensenet.errors import UserError


def read(file, images=None, ask=refuse, **options):
    return read_labelled_table(str(file), images, ask=ask, **options)[0]


def blank(root, *files):
    for file in files:
        write(root / file, np.zeros((8, 8), np.uint8))
    return root


def test_nih_lists_of_labels_folders_patients_and_a_list_of_test_images(tmp_path):
    samples = read(own_images.nih(tmp_path, 30, side=16))
    assert samples.classes == ['cross', 'disc', 'square'], 'No Finding is no label'
    assert samples.files[1] == 'images_002/images/00000000_001.png'
    assert (samples.targets.sum(1) == 0).any()
    assert samples.groups[:4] == ['0', '0', '0', '1']
    assert [part for part, group in zip(samples.parts, samples.groups) if group == '5'] == ['test'] * 3
    assert samples.parts.count('test') == 6


def test_chexpert_policies_are_asked_for_and_patients_are_in_the_paths(tmp_path):
    file = own_images.chexpert(tmp_path, 30, side=16)
    with pytest.raises(UserError, match=r'labels are empty \(missing\), the first in row 7, column .*missing=positive'):
        read(file)
    with pytest.raises(UserError, match=r'labels are -1 \(uncertain\).* Say it: uncertain=positive, or negative'):
        read(file, missing='negative')
    samples = read(file, missing='negative', uncertain='ignore')
    assert samples.classes == list(own_images.SHAPES), 'Sex, Age and Frontal are no labels'
    assert samples.files[3] == 'train/patient00001/study1/view2_frontal.png'
    assert samples.images[3].startswith('CheXpert-v1.0-small/')
    assert samples.groups[2:4] == ['patient00001'] * 2
    assert samples.targets[4, 1] == -1
    assert samples.targets[5, 2] == 0
    asked = []
    read(file, ask=lambda question, key, choices: asked.append((key, choices)) or 'positive')
    assert asked == [(key, ('positive', 'negative', 'ignore')) for key in ('missing', 'uncertain')]


def test_ham10000_ids_in_two_folders_and_lesions(tmp_path):
    samples = read(own_images.ham10000(tmp_path, 12, side=16))
    assert samples.classes == ['cross', 'disc', 'square']
    assert samples.targets.tolist()[:4] == [1, 1, 2, 2]
    assert samples.images[1] == 'ISIC_0024307'
    assert samples.files[1] == 'HAM10000_images_part_2/ISIC_0024307.jpg'
    assert samples.groups[1] == 'HAM_0000000'


def test_rsna_rows_of_boxes_and_kaggle_numbers(tmp_path):
    samples = read(own_images.rsna(tmp_path / 'rsna', 9, side=16))
    assert len(samples) == 9
    assert samples.classes == ['0', '1']
    assert samples.targets.tolist() == [1, 0, 0] * 3
    assert samples.groups is None, 'the id of the patient is that of the image'
    samples = read(own_images.kaggle(tmp_path / 'kaggle', 8, side=16))
    assert samples.files[2] == 'train/2.png'
    assert samples.targets.tolist() == [0, 1] * 4


@pytest.mark.parametrize('mark', [',', ';', '\t'])
def test_delimiters_windows_paths_parts_and_subgroups(tmp_path, mark):
    blank(tmp_path / 'pictures', *(f'a/{i}.png' for i in range(6)))
    rows = [
        [rf'D:\x\a\{i}.png', 'cat' if i % 2 else 'dog', ('Training', 'valid', 'test')[i % 3], i % 2] for i in range(6)
    ]
    file = table(tmp_path / 'labels.csv', ['file', 'species', 'set', 'sex'], rows, mark)
    samples = read(file, str(tmp_path / 'pictures'), subgroups=['sex'])
    assert samples.classes == ['cat', 'dog']
    assert samples.parts == ['train', 'val', 'test'] * 2
    assert samples.subgroups == {'sex': ['0', '1'] * 3}


def test_one_hot_columns_are_classes_and_soft_labels_are_labels(tmp_path):
    blank(tmp_path, *(f'{i}.png' for i in range(4)))
    onehot = [[i, *np.eye(3, dtype=int)[i % 3]] for i in range(4)]
    samples = read(table(tmp_path / 'a.csv', ['image_id', 'MEL', 'NV', 'BCC'], onehot))
    assert samples.classes == ['MEL', 'NV', 'BCC']
    assert samples.targets.tolist() == [0, 1, 2, 0]
    soft = [[i, value] for i, value in enumerate((0, 0.25, 0.75, 1))]
    samples = read(table(tmp_path / 'b.csv', ['image_id', 'label'], soft))
    assert samples.classes == ['label']
    assert samples.targets[:, 0].tolist() == [0, 0.25, 0.75, 1]
    assert samples.onehot[:, 0].tolist() == [0, 0, 1, 1]


HEADER = ['image', 'dx']
ROWS = [[f'{i}.png', 'benign' if i % 2 else 'malignant'] for i in range(40)]


@pytest.mark.parametrize(
    ('header', 'rows', 'options', 'message'),
    [
        (HEADER, [*ROWS[:39], ['39.png', 'Benign']], {}, r"the dx 'Benign' \(1 images\) is likely 'benign'"),
        (HEADER, [*ROWS, *[[f'{i}.png', 'benign'] for i in range(41, 81)], ['40.png', 'bengin']], {},
         r"the dx 'bengin' \(1 images\) is likely 'benign' \(60\)"),
        (HEADER, ROWS, dict(labels=['benign', 'maligna']), r"row 2: dx is 'malignant', none of labels=benign,maligna"),
        (HEADER, [*ROWS, ['0.png', 'benign']], {}, r'row 42: 0.png has other labels than in row 2'),
        (HEADER, [[f'x{i}.png', 'a' if i % 2 else 'b'] for i in range(9)], {}, 'no column has names of files below'),
        (HEADER, [*ROWS[:20], *[[f'x{i}.png', 'benign'] for i in range(9)]], {}, r'9 of 29 images are not below'),
        (HEADER, [*ROWS, ['', 'benign']], {}, r"row 42: no path in 'image'"),
        (HEADER, [*ROWS, ['40.png', '']], {}, r'1 labels are empty \(missing\), the first in row 42.*missing=ignore'),
        (HEADER, [*ROWS, ['40.png', '']], dict(missing='positive'), "missing='positive': choose ignore"),
        (HEADER, [], {}, 'has no rows'),
        (['image', 'label', 'target'], [[f'{i}.png', i % 2, i % 3] for i in range(40)], {},
         "which column is the label cannot be known, it may be 'label', 'target'"),
        (['image', 'a', 'b'], [[f'{i}.png', i % 2, 2 if i == 7 else i % 2] for i in range(40)], dict(labels=['a', 'b']),
         "row 9, column 'b': '2' is none of 0 to 1"),
        (['image', 'a', 'b'], [[f'{i}.png', i % 2, i % 2] for i in range(40)], dict(labels=['a', 'c']),
         "has no column 'c'"),
        (HEADER, ROWS, dict(path='file'), "has no column 'file'"),
        (HEADER, ROWS, dict(split='dx'), 'is none of train, val and test'),
    ],
)  # fmt: skip
def test_what_cannot_be_known_or_is_wrong_is_one_line(tmp_path, header, rows, options, message):
    blank(tmp_path, *(f'{i}.png' for i in range(81)))
    with pytest.raises(UserError, match=message) as error:
        read(table(tmp_path / 'labels.csv', header, rows), **options)
    assert str(error.value).count('\n') == 0


def test_typos_pass_where_the_classes_are_named_and_rows_without_are_left_out(tmp_path):
    blank(tmp_path, *(f'{i}.png' for i in range(41)))
    file = table(tmp_path / 'labels.csv', HEADER, [*ROWS[:39], ['39.png', 'Benign'], ['40.png', '']])
    samples = read(file, labels=['benign', 'Benign', 'malignant'], missing='ignore')
    assert samples.classes == ['benign', 'Benign', 'malignant']
    assert len(samples) == 40


def test_a_few_missing_images_are_listed(tmp_path):
    blank(tmp_path, *(f'{i}.png' for i in range(39)))
    samples, absent = read_labelled_table(str(table(tmp_path / 'labels.csv', HEADER, ROWS)), None, ask=refuse)
    assert len(samples) == 39
    assert absent == [dict(image='39.png', where='row 41')]
