import pytest
from own_images import labelled

from mmdensenet.errors import UserError


@pytest.mark.parametrize(
    ('cells', 'options', 'classes', 'targets'),
    [
        (['1', '0', ''], dict(missing='negative'), ['0', '1'], [1, 0, 0]),
        (['1', '0', 'NA'], dict(missing='positive'), ['0', '1'], [1, 0, 1]),
        (['1', ''], dict(missing='negative'), ['0', '1'], [1, 0]),  # a list of the positive
        (['1.0', '0.0', '-1.0', ''], dict(uncertain='positive', missing='ignore'), ['0', '1'], [1, 0, 1]),
        (['True', 'False', ''], dict(missing='negative'), ['False', 'True'], [1, 0, 0]),
        (['True', 'False', 'NA'], dict(missing='positive'), ['False', 'True'], [1, 0, 1]),
        (['1', '-1'], dict(uncertain='negative'), ['0', '1'], [1, 0]),
    ],
)
def test_one_column_of_zeros_and_ones_takes_every_policy(tmp_path, cells, options, classes, targets):
    samples = labelled(
        tmp_path, ['image', 'label'], lambda i: [f'{i}.png', cells[i]], len(cells), label='label', **options
    )
    assert (samples.classes, samples.targets.tolist()) == (classes, targets)
    assert samples.policies == options


def test_classes_are_called_as_they_are_named(tmp_path):
    for cells, options, targets in (
        (['1.0', '2.0'], {}, [1, 0]),
        (['1.0', '0.0', ''], dict(missing='negative'), [0, 1, 1]),
    ):
        names = ['2.0', '1.0'] if not options else ['1.0', '0.0']
        samples = labelled(
            tmp_path, ['image', 'label'], lambda i, cells=cells: [f'{i}.png', cells[i]], len(cells),
            label='label', labels=names, **options,
        )  # fmt: skip
        assert (samples.classes, samples.targets.tolist()) == (names, targets)


def test_other_classes_have_no_positive_one(tmp_path):
    with pytest.raises(UserError, match=r'1 labels are empty .* Say it: missing=ignore\.$'):
        labelled(tmp_path, ['image', 'label'], lambda i: [f'{i}.png', ('1', '2', '')[i]], 3, label='label')


def test_minus_one_beside_labels_names_its_row(tmp_path):
    with pytest.raises(UserError, match='row 3: label has -1 beside labels'):
        labelled(tmp_path, ['image', 'label'], lambda i: [f'{i}.png', ('a|b', 'a|-1', 'b')[i]], 3, label='label')


def test_several_columns_are_scores(tmp_path):
    cells = [('1', '0', '0'), ('0.25', '1', '-1'), ('', '0', '1'), ('0', '0.0', '0.75')]
    header = ['image', 'A', 'B', 'No Finding']
    options = dict(labels=['A', 'B', 'No Finding'], missing='ignore', uncertain='positive')
    samples = labelled(tmp_path, header, lambda i: [f'{i}.png', *cells[i]], 4, **options)
    assert samples.targets.tolist() == [[1, 0, 0], [0.25, 1, 1], [-1, 0, 1], [0, 0, 0.75]]
    contradiction = "1 rows have 'No Finding' beside other labels, the first is row 3"
    assert [fact for fact in samples.facts if 'beside other labels' in fact] == [contradiction]
    for wrong in ('1.5', '-0.5'):
        cells[0] = ('1', wrong, '0')
        with pytest.raises(
            UserError, match=f"row 2, column 'B': '{wrong}' is none of 0 to 1, -1 .uncertain. and empty"
        ):
            labelled(tmp_path, header, lambda i: [f'{i}.png', *cells[i]], 4, **options)


def test_lists_of_labels_are_marks(tmp_path):
    cells = ['b|a', 'a', '', 'No Finding', '-1', 'c']
    options = dict(label='label', missing='ignore', uncertain='negative')
    samples = labelled(tmp_path, ['image', 'label'], lambda i: [f'{i}.png', cells[i]], 6, **options)
    assert samples.classes == ['a', 'b', 'c']
    assert samples.targets.tolist() == [[1, 1, 0], [1, 0, 0], [-1] * 3, [0] * 3, [0] * 3, [0, 0, 1]]
    cells[5] = 'No Finding|c'
    with pytest.raises(UserError, match=r"row 7: label is 'No Finding\|c', none and some: correct it"):
        labelled(tmp_path, ['image', 'label'], lambda i: [f'{i}.png', cells[i]], 6, **options)


def test_a_label_of_a_list_that_is_not_among_the_named_ones(tmp_path):
    cells = ['a|b', 'b', 'a|c|d']
    with pytest.raises(UserError, match="row 4: label is 'c', none of labels=a,b"):
        labelled(tmp_path, ['image', 'label'], lambda i: [f'{i}.png', cells[i]], 3, label='label', labels=['a', 'b'])


def test_what_is_no_word_may_mean_missing(tmp_path):
    with pytest.raises(UserError, match=r"row 4: label is '\?': leave it empty if that means missing, or name all"):
        labelled(tmp_path, ['image', 'label'], lambda i: [f'{i}.png', 'ab?a'[i]], 4, label='label')
    named = labelled(tmp_path, ['image', 'label'], lambda i: [f'{i}.png', 'ab?a'[i]], 4, label='label', labels='ab?')
    assert (named.classes, named.targets.tolist()) == (['a', 'b', '?'], [0, 1, 2, 0])
