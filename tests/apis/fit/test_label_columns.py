import pytest
from own_images import labelled

from mmdensenet.errors import UserError

MIXED = ['1', '0', '-1', '', 'NaN', 'NA', 'None', 'null', '#N/A', '<NA>', 'n/a', '?']


@pytest.mark.parametrize(
    ('cells', 'message'),
    [
        (['"0,0"', '"1,0"'], "column 'label' has decimal commas, such as '0,0': write points"),
        (['"0,5"', '1'], "has decimal commas, such as '0,5'"),
        (["\"['a', 'b']\"", "['a']", '[]'], 'has lists in brackets, such as .*: write labels as a|b'),
        (['"{a,b}"', '{a}'], 'has lists in brackets'),
        (['a/b', 'a', 'b', 'c'], "'a/b' in the column 'label' may be the labels a, b or a class of its own"),
        (['scab rust', 'scab', 'rust', 'healthy'], "'scab rust' in the column 'label' may be the labels scab, rust"),
        (['a;b', 'a', 'b', 'c;d'], "'a;b' in the column 'label' may be the labels a, b or"),
        (['a', 'b', '?'], "row 4: label is '\\?': leave it empty if that means missing, or name all classes"),
        (['a', 'b', '--'], "row 4: label is '--'"),
        (['a|b', 'a|No Finding', 'b'], r"row 3: label is 'a\|No Finding', none and some"),
    ],
)
def test_what_may_be_lists_or_missing_is_no_class(tmp_path, cells, message):
    with pytest.raises(UserError, match=message):
        labelled(tmp_path, ['image', 'label'], lambda i: [f'{i}.png', cells[i % len(cells)]], label='label')


def test_classes_that_are_named_may_be_anything(tmp_path):
    for classes in (['a/b', 'a', 'b'], ['?', 'a'], ['scab rust', 'scab', 'rust']):
        samples = labelled(
            tmp_path, ['image', 'label'], lambda i, names=classes: [f'{i}.png', names[i % len(names)]], labels=classes
        )
        assert samples.classes == classes
    for classes in (['1;2', '2', '1'], ['b|c', 'a']):  # which are lists where nothing is named
        cells = [f'"{name}"' for name in classes]
        samples = labelled(
            tmp_path, ['image', 'label'], lambda i, cells=cells: [f'{i}.png', cells[i % len(cells)]], labels=classes
        )
        assert (samples.classes, samples.targets[:3].tolist()) == (classes, [i % len(classes) for i in range(3)])
    samples = labelled(tmp_path, ['image', 'label'], lambda i: [f'{i}.png', ('New York', 'York', 'Rome')[i % 3]])
    assert samples.classes == ['New York', 'Rome', 'York']


def test_a_column_of_labels_with_words_is_not_left_out(tmp_path):
    policies = dict(uncertain='ignore', missing='ignore')
    with pytest.raises(UserError, match=r"row 5, column 'A': '\?' is none of 0 to 1, -1 \(uncertain\) and empty"):
        labelled(tmp_path, ['image', 'A', 'B'], lambda i: [f'{i}.png', '?' if i % 4 == 3 else i / 20, i % 2])
    with pytest.raises(UserError, match="which column is the label cannot be known, it may be 'B', 'A'"):
        labelled(tmp_path, ['image', 'A', 'B'], lambda i: [f'{i}.png', MIXED[i], i % 2], **policies)
    samples = labelled(tmp_path, ['image', 'A', 'B'], lambda i: [f'{i}.png', MIXED[i], i % 2], 11, **policies)
    assert samples.targets[:, 0].tolist() == [1, 0] + [-1] * 9


def test_what_describes_a_person_is_no_label_and_contradictions_are_said(tmp_path):
    samples = labelled(
        tmp_path,
        ['image', 'A', 'B', 'is_male', 'Patient Sex', 'No Finding'],
        lambda i: [f'{i}.png', i % 2, int(i % 3 == 0), i % 2, i % 3 % 2, int(i < 2)],
    )
    assert samples.classes == ['A', 'B', 'No Finding']
    assert "2 rows have 'No Finding' beside other labels, the first is row 2" in samples.facts


def test_classes_without_an_image_that_is_there_are_none(tmp_path):
    samples = labelled(
        tmp_path, ['image', 'label'], lambda i: ['Total' if i == 11 else f'{i}.png', '11' if i == 11 else 'ab'[i % 2]]
    )
    assert samples.classes == ['a', 'b']
    assert samples.targets.tolist() == [0, 1] * 5 + [0]
    assert 'no image of 11 is there: no class' in samples.facts
