"""Lists of classes that differ are told apart from those that do not, and the message says what to do."""

import re

import pytest
from conftest import write_images
from mmpretrain.registry import DATASETS

from mmdensenet.datasets.class_lists import ClassList, class_lists, number_folders, require_same_classes
from mmdensenet.errors import UserError


def lists(first, second, **of_second):
    return [ClassList('train', tuple(first)), ClassList('val', None if second is None else tuple(second), **of_second)]


@pytest.mark.parametrize(
    ('first', 'second', 'message'),
    [
        (
            'abc',
            'bc',
            r"val lacks 'a'\.\nIf it has no image of it, add metainfo=dict\(classes=\['a', 'b', 'c'\]\) to val",
        ),
        ('abc', 'ab', r"val lacks 'c'\.\n.*add metainfo=dict\(classes=\['a', 'b', 'c'\]\) to val"),
        ('bc', 'abc', r"val has 'a'\.\nRemove it if that is no class.*add metainfo=.* to train"),
        ('abc', 'acb', r"another order: its label 1 is 'c', not 'b'"),
        (['ant', 'bee'], ['Bee', 'ant'], r"lacks 'bee', has 'Bee'\.\n'Bee' and 'bee' are likely one class"),
        (['ant', 'bee', 'cat'], ['Bee', 'ant', 'bee'], "'Bee' and 'bee' are likely one class"),
        (['cat', 'dog'], ['dog', 'kat'], r"'kat' and 'cat' are likely one class"),
        (['polar bear', 'x'], ['polar_bear', 'x'], r"'polar_bear' and 'polar bear' are likely one class"),
        (
            'ab',
            'xy',
            r"If they are the same under other names, in this order, add metainfo=dict\(classes=\['a', 'b'\]\)",
        ),
        ([str(i) for i in range(1000)], ['0'], r"add classes='FILE' to val, a file with the 1000 names"),
        (['a', 'a'], ['a'], 'a class twice'),
    ],
)
def test_what_differs(first, second, message):
    with pytest.raises(UserError) as caught:
        require_same_classes(lists(first, second))
    assert re.search(message, str(caught.value)), caught.value
    assert 'num_classes' not in str(caught.value) and str(caught.value).count('\n') <= 1
    assert 'train' in str(caught.value) and 'val' in str(caught.value)


def test_what_is_the_same():
    require_same_classes(lists('abc', 'abc'))
    require_same_classes(lists('abc', None, largest=2))
    require_same_classes([ClassList('a', None, largest=5), ClassList('b', None, largest=7)])
    require_same_classes([])
    with pytest.raises(UserError, match=r'val .l.txt. has label 3, but train has 3 classes, 0 to 2'):
        require_same_classes(lists('abc', None, largest=3, file='l.txt'))


def test_folders_are_numbered_by_their_names():
    assert number_folders(['a', 'b', 'c'], ['c', 'a', 'b'], '') == {'a': 1, 'b': 2, 'c': 0}
    assert number_folders(['b'], ['a', 'b'], '') == {'b': 1}
    # ImageNet's folders have other names than its classes
    assert number_folders(['n02', 'n01'], ['fish', 'shark'], '') == {'n01': 0, 'n02': 1}
    for folders, message in (
        (['cat', 'dgo'], "d/dgo is no class .* It is likely 'dog'"),
        (['cat', 'dog', 'x'], r'd/x is no class .* folders \(3\) doesn.t match that of classes \(2\)\. Remove it'),
        (['n1', 'n2', 'n3'], r'folders \(3\) doesn.t match that of classes \(2\)'),
        (['cat', '.ipynb_checkpoints'], 'd/.ipynb_checkpoints is a hidden folder'),
        (['cat', 'dog', '__MACOSX'], 'd/__MACOSX is a hidden folder or one that a system leaves behind'),
    ):
        with pytest.raises(UserError, match=message):
            number_folders(folders, ['cat', 'dog'], 'd')


def test_folders_in_alphabetical_order_must_be_in_the_order_of_the_classes():
    assert number_folders(['Cat', 'Dog'], ['cat', 'dog'], '') == {'Cat': 0, 'Dog': 1}
    assert number_folders(['1', '2', '10'], ['10', '2', '1'], '') == {'1': 2, '2': 1, '10': 0}
    names = [f'class {number}' for number in range(11)]
    assert number_folders([f'c{number:02}' for number in range(11)], names, '')['c10'] == 10
    for folders, classes, message in (
        (['Cat', 'Dog'], ['dog', 'cat'], "d/Cat would be class 0, 'dog', .* is likely 'cat'"),
        ([f'c{number}' for number in range(11)], names, "d/c10 would be class 2, 'class 2', .* numbers that is 'c2'"),
        (['cat'], ['cat', 'cat'], "'cat' twice"),
    ):
        with pytest.raises(UserError, match=message):
            number_folders(folders, classes, 'd')


def folder(tmp_path, name, **settings):
    return dict(type='mmpretrain.CustomDataset', data_root=str(tmp_path), data_prefix=name, **settings)


def test_folders_with_a_list(tmp_path):
    """In another order than the alphabet's, and with one that is missing, each image has the label of its class."""
    write_images(tmp_path / 'train')
    names = ('class_2', 'class_0', 'class_1', 'none')
    dataset = DATASETS.build(folder(tmp_path, 'train', metainfo=dict(classes=list(names))))
    assert dataset.metainfo['classes'] == list(names)
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        assert names[info['gt_label']] in info['img_path']


@pytest.mark.parametrize('stated', [False, True])
def test_a_hidden_folder_is_the_reason(tmp_path, stated):
    write_images(tmp_path / 'train')
    (tmp_path / 'train/.ipynb_checkpoints').mkdir()
    metainfo = dict(classes=[f'class_{i}' for i in range(3)]) if stated else None
    with pytest.raises(UserError, match=r'train/\.ipynb_checkpoints is a hidden folder'):
        DATASETS.build(folder(tmp_path, 'train', metainfo=metainfo))
    # without labels no folder is a class
    assert len(DATASETS.build(folder(tmp_path, 'train', with_label=False))) == 12


def test_concatenated(tmp_path):
    write_images(tmp_path / 'one', classes=2)
    write_images(tmp_path / 'two', classes=3)
    parts = [folder(tmp_path, 'one'), folder(tmp_path, 'two')]
    with pytest.raises(UserError, match=r"ConcatDataset.datasets.1 has 'class_2' .*two/class_2"):
        DATASETS.build(dict(type='ConcatDataset', datasets=parts))
    # who ignores the difference has labels that mean two things
    ignoring = DATASETS.build(dict(type='ConcatDataset', datasets=parts, ignore_keys='classes'))
    with pytest.raises(UserError, match=r"train.datasets.1 has 'class_2'"):
        require_same_classes(class_lists(ignoring, 'train'))
    parts[0]['metainfo'] = dict(classes=['class_0', 'class_1', 'class_2'])
    both = DATASETS.build(dict(type='ConcatDataset', datasets=parts))
    assert [each.owner for each in class_lists(both, 'train')] == ['train.datasets.0', 'train.datasets.1']
    require_same_classes(class_lists(both, 'train'))


def test_lists_of_parts_without_names_or_labels(tmp_path):
    write_images(tmp_path / 'images')
    (tmp_path / 'l.txt').write_text('class_0/0.jpg 0\nclass_1/0.jpg 4\n')
    [numbered] = class_lists(DATASETS.build(folder(tmp_path, 'images', ann_file='l.txt')), 'k')
    assert numbered.names is None and numbered.largest == 4 and numbered.file.endswith('l.txt')
    assert class_lists(DATASETS.build(folder(tmp_path, 'images', with_label=False)), 'k') == []


@pytest.mark.parametrize(
    ('labels', 'settings', 'wrong'),
    [
        ((0, 1, 2), dict(), None),
        (
            (0, 2, 1),
            dict(),
            "val .*l.txt. gives the images in folders 'class_1' the label 2, and 'class_1' is class 1",
        ),
        ((2, 0, 1), dict(), "'class_0' the label 2, and 'class_0' is class 0 in train"),
        ((2, 0, 1), dict(metainfo=dict(classes=['class_1', 'class_2', 'class_0'])), 'in another order'),
        ((2, 0, 1), dict(classes=['class_0', 'class_1', 'class_2']), "'class_0' the label 2"),
        (((0, 1, 2, 0), (1, 0, 1, 1), (2, 1, 2, 2)), dict(), None),
    ],
)
@pytest.mark.parametrize('named', [True, False])
def test_numbers_beside_folders(tmp_path, labels, settings, wrong, named):
    """A file that lists the images of class folders with other numbers; single corrected labels are none."""
    write_images(tmp_path / 'images')

    def listed(name, labels):
        each = [(i, k, row[k] if isinstance(row, tuple) else row) for i, row in enumerate(labels) for k in range(4)]
        (tmp_path / name).write_text(''.join(f'class_{i}/{k}.jpg {label}\n' for i, k, label in each))
        return DATASETS.build(folder(tmp_path, 'images', ann_file=name, **settings))

    train = DATASETS.build(folder(tmp_path, 'images')) if named else listed('t.txt', (0, 1, 2))
    val = listed('l.txt', labels)
    lists = [*class_lists(train, 'train'), *class_lists(val, 'val')]
    if wrong is None:
        require_same_classes(lists)
    else:
        if not named and 'order' in wrong:
            wrong = "train .*'class_0' the label 0, and 'class_0' is class 2 in train"
        with pytest.raises(UserError, match=wrong):
            require_same_classes(lists)
