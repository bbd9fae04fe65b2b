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
        (['1', '-1'], dict(uncertain='negative'), ['0', '1'], [1, 0]),
    ],
)
def test_one_column_of_zeros_and_ones_takes_every_policy(tmp_path, cells, options, classes, targets):
    samples = labelled(
        tmp_path, ['image', 'label'], lambda i: [f'{i}.png', cells[i]], len(cells), label='label', **options
    )
    assert (samples.classes, samples.targets.tolist()) == (classes, targets)
    assert samples.policies == options


def test_other_classes_have_no_positive_one(tmp_path):
    with pytest.raises(UserError, match=r'1 labels are empty .* Say it: missing=ignore\.$'):
        labelled(tmp_path, ['image', 'label'], lambda i: [f'{i}.png', ('1', '2', '')[i]], 3, label='label')


def test_minus_one_beside_labels_names_its_row(tmp_path):
    with pytest.raises(UserError, match='row 3: label has -1 beside labels'):
        labelled(tmp_path, ['image', 'label'], lambda i: [f'{i}.png', ('a|b', 'a|-1', 'b')[i]], 3, label='label')
