import numpy as np
import own_images
import pytest
from own_images import table, write

from mmdensenet.apis.fit.labelled_table import read_labelled_table
from mmdensenet.apis.fit.samples import refuse
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
        (HEADER, [*ROWS, ['40.png', '']], dict(missing='positive'), "missing=positive: choose ignore"),
        (HEADER, [], {}, 'has no rows'),
        (['image', 'label', 'target'], [[f'{i}.png', i % 2, i % 3] for i in range(40)], {},
         "which column is the label cannot be known, it may be 'label', 'target'"),
        (['image', 'a', 'b'], [[f'{i}.png', i % 2, 2 if i == 7 else i % 2] for i in range(40)], dict(labels=['a', 'b']),
         "row 9, column 'b': '2' is none of 0 to 1"),
        (['image', 'a', 'b'], [[f'{i}.png', i % 2, i % 2] for i in range(40)], dict(labels=['a', 'c']),
         "has no column 'c'"),
        (HEADER, ROWS, dict(path='file'), "has no column 'file'"),
        (['image', 'dx', 'split'], [[*row, ('train', 'test', 'extra')[i % 3]] for i, row in enumerate(ROWS)], {},
         r"column 'split' seems to give the parts, but 'extra' is none"),
        (['image', 'dx', 'part', 'official'],
         [[*row, ('train', 'test')[i % 2], ('train', 'test')[i % 3 % 2]] for i, row in enumerate(ROWS)], {},
         "the columns 'part' and 'official' give different parts: split=COLUMN"),
        (['image', 'dx', 'is_train'], [[*row, i % 2] for i, row in enumerate(ROWS)], {},
         "column 'is_train' seems to give a part with yes and no"),
        (['', 'number', 'dx'], [[i, 80 - i, row[1]] for i, row in enumerate(ROWS)], {},
         "the columns '' and 'number' name different files below .*: say which are the images, path=COLUMN"),
        (['image', 'histology', 'biopsied'], [[*row, i % 3 % 2] for i, row in enumerate(ROWS)], {},
         "cannot be known, it may be 'biopsied', 'histology'"),
        (['image', 'patient', 'patient', 'dx'], [[row[0], i // 2, i // 3, row[1]] for i, row in enumerate(ROWS)], {},
         "has the column 'patient' 2 times"),
        (['image', 'dx', 'split'], [*[[*row, 'train'] for row in ROWS], ['0.png', 'malignant', 'test']], {},
         "row 42: 0.png has 'split' 'test', and 'train' in row 2"),
        (HEADER, [[f'{i}.png', ('1', '01', '2')[i % 3]] for i in range(40)], {}, "'01' .* is likely '1'"),
        (['0.png', 'malignant'], ROWS[1:], {}, 'has no header: its first row is of the image 0.png'),
        (['image', 'a', 'b', 'c'], [[f'{i}.png', i % 2, i % 3 % 2, 1.2 if i == 5 else i % 2] for i in range(40)], {},
         "row 7, column 'c': '1.2' is none of 0 to 1, -1 .* labels=A,B,C"),
        (['image', 'a', 'b', 'c'], [[f'{i}.png', i % 2, i % 3 % 2, ('"0,25"', '"0,75"')[i % 2]] for i in range(40)], {},
         "row 2, column 'c': '0,25' is none of 0 to 1, -1"),
        (HEADER, [[f'{i}.png', ('caf\u00e9', 'cafe\u0301', 'tea')[i % 3]] for i in range(40)], {}, 'spelt otherwise'),
        (HEADER, ROWS, dict(split='dx'), 'is none of train, val and test'),
        (['My images', ''], [HEADER, *ROWS], {}, "column 2 has no name in the first line, 'My images', '': name"),
        (['image', 'dx', 'sex'], [*[[*row, 'f'] for row in ROWS], ['0.png', 'malignant', 'm']], dict(subgroups=['sex']),
         "row 42: 0.png has 'sex' 'm', and 'f' in row 2"),
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


def test_classes_that_are_called_as_missing_labels_are(tmp_path):
    blank(tmp_path, *(f'{i}.png' for i in range(12)))
    rows = [[f'{i}.png', ('None', 'mild', 'NA')[i % 3]] for i in range(12)]
    file = table(tmp_path / 'labels.csv', HEADER, rows)
    message = (
        r"8 labels are 'None' \(missing\), the first in row 2.*If 'None' is a class, name all classes, labels=A,B,C"
    )
    with pytest.raises(UserError, match=message):
        read(file)
    samples = read(file, labels=['None', 'mild', 'NA'])
    assert samples.classes == ['None', 'mild', 'NA'] and samples.targets.tolist() == [0, 1, 2] * 4


def test_one_class_is_said_to_be_one(tmp_path):
    blank(tmp_path, *(f'{i}.png' for i in range(4)))
    file = table(tmp_path / 'labels.csv', HEADER, [[f'{i}.png', 'cat'] for i in range(4)])
    with pytest.raises(UserError, match=r"has one class, \['cat'\]"):
        read(file)


def test_a_few_missing_images_are_listed(tmp_path):
    blank(tmp_path, *(f'{i}.png' for i in range(39)))
    samples, absent = read_labelled_table(str(table(tmp_path / 'labels.csv', HEADER, ROWS)), None, ask=refuse)
    assert len(samples) == 39
    assert absent == [dict(image='39.png', where='row 41')]


def test_the_images_are_the_column_that_is_called_so_where_numbers_of_rows_are_files_too(tmp_path):
    blank(tmp_path, *(f'{i}.png' for i in range(40)), *(f'masks/{i}m.png' for i in range(40)))
    rows = [[i, f'masks/{i}m.png', 39 - i, row[1]] for i, row in enumerate(ROWS)]
    samples = read(table(tmp_path / 'labels.csv', ['', 'mask', 'id', 'dx'], rows))
    assert samples.files[:2] == ['39.png', '38.png']
    assert [samples.classes[k] for k in samples.targets[:2]] == ['malignant', 'benign']


def test_empty_groups_are_alone_and_one_group_has_one_spelling(tmp_path):
    blank(tmp_path, *(f'{i}.png' for i in range(8)))
    groups = ['1', '1.0', 'nan', '', 'NA', '2', '2.0', '2']
    rows = [[f'{i}.png', group, 'ab'[i % 2]] for i, group in enumerate(groups)]
    samples = read(table(tmp_path / 'labels.csv', ['image', 'patient', 'label'], rows))
    assert samples.groups == ['1', '1', 'row 2', 'row 3', 'row 4', '2', '2', '2']
    assert '3 images have no group and are taken each for itself' in samples.facts
    samples = read(table(tmp_path / 'b.csv', ['image', 'case'], [[row[0], row[2]] for row in rows]), label='case')
    assert samples.groups is None, 'what is said to be the label is no group'


def test_most_paths_name_a_patient_and_the_others_are_alone(tmp_path):
    files = [f'patient{i // 2}/{i}.png' for i in range(6)] + ['healthy/1.png', 'healthy/2.png']
    blank(tmp_path, *files)
    samples = read(table(tmp_path / 'labels.csv', ['image', 'label'], [[f, 'ab'[i % 2]] for i, f in enumerate(files)]))
    assert samples.groups == [
        *(f'patient{i // 2}' for i in range(6)), 'image healthy/1.png', 'image healthy/2.png',
    ]  # fmt: skip


def test_separators_at_the_end_and_what_is_unknown_in_lists(tmp_path):
    blank(tmp_path, *(f'{i}.png' for i in range(5)))
    cells = ['a|b', 'a|', '|', '-1', 'No Finding']
    file = table(tmp_path / 'labels.csv', ['image', 'label'], [[f'{i}.png', cell] for i, cell in enumerate(cells)])
    with pytest.raises(UserError, match=r'1 labels are empty \(missing\), the first in row 4'):
        read(file)
    samples = read(file, missing='positive', uncertain='ignore')
    assert samples.targets.tolist() == [[1, 1], [1, 0], [1, 1], [-1, -1], [0, 0]]
    named = read(file, labels=['No Finding', 'a', 'b'], missing='ignore', uncertain='ignore')
    assert named.targets[4].tolist() == [1, 0, 0]


def test_numbers_as_pandas_writes_them(tmp_path):
    blank(tmp_path, *(f'{i}.png' for i in range(6)))
    rows = [[f'{i}.0', i % 2 == 0, i % 3 == 0] for i in range(6)]
    samples = read(table(tmp_path / 'labels.csv', ['image', 'edema', 'mass'], rows))
    assert samples.files[5] == '5.png'
    assert samples.targets.tolist() == [[1, 1], [0, 0], [1, 0], [0, 1], [1, 0], [0, 0]]


def test_what_is_named_is_a_class(tmp_path):
    blank(tmp_path, *(f'{i}.png' for i in range(6)))
    for classes in (['none', 'mild'], ['-1', '1']):
        rows = [[f'{i}.png', classes[i % 2]] for i in range(6)]
        file = table(tmp_path / 'labels.csv', ['image', 'label'], rows)
        with pytest.raises(UserError, match='What do they count as'):
            read(file, label='label')
        samples = read(file, label='label', labels=classes)
        assert (samples.classes, samples.targets.tolist()) == (classes, [0, 1] * 3)


def test_lists_of_parts_name_folders(tmp_path):
    blank(tmp_path, *(f'{name}/{i}.png' for name in 'ab' for i in range(4)))
    rows = [[f'{name}/{i}.png', name] for name in 'ab' for i in range(4)]
    file = table(tmp_path / 'labels.csv', ['image', 'label'], rows)
    (tmp_path / 'test.txt').write_text('a/0.png\nb/1.png\n')
    (tmp_path / 'train.txt').write_text('b/0.png\na/1.png\n')
    parts = dict(zip((samples := read(file)).files, samples.parts))
    assert [parts[f] for f in ('a/0.png', 'b/0.png', 'a/1.png', 'b/1.png', 'a/2.png')] == (
        ['test', 'train', 'train', 'test', '']
    )


def test_text_by_a_guess_and_columns_that_are_not_used_are_said(tmp_path):
    blank(tmp_path, *(f'{i}.png' for i in range(6)))
    rows = [[f'{i}.png', 'g\u00fct' if i % 2 else 'b', i] for i in range(6)]
    file = table(tmp_path / 'a.csv', ['image', 'label', 'scanner'], rows)
    facts = read(file).facts
    assert "not used: the columns 'scanner'" in facts
    assert not any('UTF-8' in fact for fact in facts)
    file.write_bytes(file.read_text(encoding='utf-8').encode('cp1252'))
    samples = read(file)
    assert samples.classes == ['b', 'g\u00fct']
    assert "the text is not UTF-8 and read as Windows' Latin alphabet (cp1252), such as 'g\u00fct'" in samples.facts
