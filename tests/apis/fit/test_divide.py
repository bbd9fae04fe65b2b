import csv

import numpy as np
import pytest

from mmdensenet.apis.fit.divide import divide, hash_group, kept_salt, read_earlier, read_parts, write_samples
from mmdensenet.apis.fit.look import Look
from mmdensenet.apis.fit.samples import Samples
from mmdensenet.errors import UserError


def looked(count=200, groups=None, parts=None, alike=None, classes=('a', 'b'), names=None):
    images = names or [f'{i:04d}.png' for i in range(count)]
    rng = np.random.default_rng(0)
    targets = rng.integers(0, len(classes), count)
    samples = Samples('root', images, images, list(classes), targets, groups, parts)
    return Look(samples, [], np.arange(count) if alike is None else np.array(alike))


def test_shares_are_stratified_and_do_not_depend_on_the_order():
    look = looked(500)
    columns, lines = divide(look, None)
    parts = np.array(columns['split'])
    for label in (0, 1):
        inside = look.samples.targets == label
        for part, share in (('train', 0.7), ('val', 0.1), ('test', 0.2)):
            assert abs((parts[inside] == part).mean() - share) < 0.02
    order = np.random.default_rng(1).permutation(500)
    other = Look(look.samples.take(order), [], np.arange(500))
    assert divide(other, None)[0]['split'] == parts[order].tolist()
    counts = [columns['split'].count(part) for part in ('train', 'val', 'test')]
    each = 'images, each image for itself (no group is known)'
    assert lines[-1] == f'train {counts[0]}, val {counts[1]}, test {counts[2]} {each}'


def test_groups_and_duplicates_stay_together():
    groups = [f'p{i // 3}' for i in range(300)]
    alike = list(range(300))
    alike[299] = 0  # an image of the last patient is one of the first
    columns, _ = divide(looked(300, groups, alike=alike), None)
    by_group = {}
    for group, part in zip(groups, columns['split']):
        by_group.setdefault(group, set()).add(part)
    assert all(len(parts) == 1 for parts in by_group.values())
    assert by_group['p0'] == by_group['p99']


def test_added_images_do_not_move_the_others(tmp_path):
    look = looked(200)
    columns, _ = divide(look, None)
    write_samples(tmp_path / 'samples.csv', look.samples, columns)
    names = sorted([*look.samples.images, *(f'{i:04d}b.png' for i in range(40))])
    more = looked(240, names=names)
    again, lines = divide(more, read_parts(tmp_path / 'samples.csv'))
    now = dict(zip(names, again['split']))
    assert [now[name] for name in look.samples.images] == columns['split']
    assert '200 images stay in their part, 40 are new' in lines
    added = [now[name] for name in names if name.endswith('b.png')]
    assert [added.count(part) for part in ('train', 'val', 'test')] == [28, 4, 8]


@pytest.mark.parametrize('classes', ['ab', 'abcdefghij'])
def test_of_another_work_directory_most_images_are_in_the_same_part(classes):
    columns, _ = divide(looked(400, classes=classes), None)
    before = dict(zip((f'{i:04d}.png' for i in range(400)), columns['split']))
    more = looked(440, classes=classes, names=[f'{i:04d}.png' for i in range(440)])
    more.samples.targets[:400] = looked(400, classes=classes).samples.targets
    now = dict(zip(more.samples.images, divide(more, None)[0]['split']))
    assert sum(now[name] == part for name, part in before.items()) >= 0.9 * 400


def test_a_group_that_gets_an_image_stays_and_folds_are_no_parts(tmp_path):
    groups = [f'p{i // 2}' for i in range(200)]
    first = divide(looked(200, groups), None)[0]['split']
    # the new image is the first by name of its group
    more = looked(201, [*groups, 'p7'], names=[*(f'{i:04d}.png' for i in range(200)), '!.png'])
    more.samples.targets[:200] = looked(200).samples.targets
    again = divide(more, None)[0]['split']
    assert sum(a == b for a, b in zip(first, again)) >= 190
    look = looked(200)
    write_samples(tmp_path / 'samples.csv', look.samples, divide(look, None, folds=4)[0])
    assert divide(look, read_parts(tmp_path / 'samples.csv'))[0] == divide(look, None)[0]
    assert len(read_earlier(tmp_path / 'samples.csv')['0000.png']) == 4
    (tmp_path / 'other.csv').write_text('image,part\n1.png,train\n')
    for name, message in (('other.csv', 'is no samples.csv of an earlier call'), ('none.csv', 'does not exist')):
        with pytest.raises(UserError, match=message):
            read_earlier(tmp_path / name)


def test_leaks_of_a_given_split_are_an_error_with_examples():
    parts = ['train'] * 140 + ['val'] * 20 + ['test'] * 40
    groups = [f'p{i}' for i in range(199)] + ['p0']
    alike = list(range(200))
    alike[150] = 7
    look = looked(200, groups, parts, alike)
    with pytest.raises(
        UserError, match=r'2 leaks .*group p0 is in train \(0000.png\) and test \(0199.png\); the same '
    ):
        divide(look, None)
    columns, lines = divide(look, None, allow_leak=True)
    assert columns['split'] == parts, 'they stay where they were given'
    assert sum(line.startswith('leak, allowed') for line in lines) == 2 and 'more leaks' not in ' '.join(lines)
    look.alike[160:163] = 1, 2, 3
    with pytest.raises(UserError, match=r'^5 leaks (?!.*0162\.png).* \.\.\.\. Correct them'):
        divide(look, None)
    assert 'and 2 more leaks' in divide(look, None, allow_leak=True)[1]


def test_an_image_without_a_part_follows_its_group():
    groups = [f'p{i // 2}' for i in range(200)]
    kinds = ['train'] * 70 + ['val'] * 10 + ['test'] * 20
    parts = [part for kind in kinds for part in (kind, '')]
    columns, _ = divide(looked(200, groups, parts), None)
    assert columns['split'] == [kind for kind in kinds for _ in range(2)]


def test_an_image_without_a_part_that_joins_two_is_named():
    """Its patient's other image is for the test, and its duplicate is trained on."""
    parts, groups = ['train'] * 140 + ['val'] * 20 + ['test'] * 40, [f'p{i}' for i in range(200)]
    parts[7], groups[7] = '', 'p170'
    alike = list(range(200))
    alike[7] = 3
    look = looked(200, groups, parts, alike)
    with pytest.raises(
        UserError,
        match=r'^images without a part join what is in two: group p170 is in train \(0007.* Give them a part,',
    ):
        divide(look, None)
    columns, lines = divide(look, None, allow_leak=True)
    assert [part for i, part in enumerate(columns['split']) if i != 7] == [*parts[:7], *parts[8:]]
    assert sum(line.startswith('leak, allowed: group p170') for line in lines) == 1


@pytest.mark.parametrize(
    ('given', 'taken'), [(('train', 'val'), 'test'), (('train', 'test'), 'val'), (('', 'test'), 'val')]
)
def test_a_part_that_is_not_given_comes_from_the_training_part(tmp_path, given, taken):
    parts = [given[i % 4 == 0] for i in range(200)]
    look = looked(200, parts=parts)
    columns, _ = divide(look, None)
    assert set(columns['split']) == {'train', 'val', 'test'}
    for before, after in zip(parts, columns['split']):
        assert after == before or (before in ('', 'train') and after in ('train', taken))
    assert columns['split'].count(taken) == pytest.approx(150 * (0.2 if taken == 'test' else 1 / 8), abs=2)
    write_samples(tmp_path / 'samples.csv', look.samples, columns)
    more = looked(260, parts=[*parts, *[given[0]] * 60])
    more.samples.targets[:200] = look.samples.targets
    assert divide(more, read_parts(tmp_path / 'samples.csv'))[0]['split'][:200] == columns['split']


def test_an_added_image_follows_its_group_out_of_the_given_training_part():
    groups = [f'p{i // 2}' for i in range(200)]
    parts = [('train', 'test')[i // 2 % 4 == 0] for i in range(200)]
    look = looked(200, groups, parts)
    first = divide(look, None)[0]['split']
    before = {image: [part] for image, part in zip(look.samples.images, first)}
    taken, kept = first.index('val'), first.index('train')

    def added(group, alike=200):
        more = looked(201, [*groups, group], [*parts, 'train'], [*range(200), alike])
        more.samples.targets[:200] = look.samples.targets
        return divide(more, before)[0]['split']

    assert added(groups[taken]) == [*first, 'val'] and added(groups[kept]) == [*first, 'train']
    with pytest.raises(UserError, match='added images join what is in two parts: the same image is in train'):
        added(groups[taken], alike=kept)


def test_folds_test_each_image_once_by_a_model_that_has_not_seen_it(tmp_path):
    groups = [f'p{i // 2}' for i in range(200)]
    look = looked(200, groups)
    columns, _ = divide(look, None, folds=4)
    table = np.array([columns[f'fold{k}'] for k in range(4)])
    assert ((table == 'test').sum(0) == 1).all()
    assert ((table == 'val').sum(0) == 1).all()
    assert (table[:, ::2] == table[:, 1::2]).all()
    write_samples(tmp_path / 'samples.csv', look.samples, columns)
    more = looked(240, [*groups, *(f'q{i // 2}' for i in range(40))])
    again, _ = divide(more, read_parts(tmp_path / 'samples.csv'), folds=4)
    assert {name: column[:200] for name, column in again.items()} == columns
    with pytest.raises(UserError, match='folds=2: give 3 or more'):
        divide(look, None, folds=2)


def test_samples_csv_has_no_name_of_a_group_and_all_labels(tmp_path):
    samples = Samples(
        'root', ['1', '2'], ['a/1.png', 'a/2.png'], ['x', 'y'], np.array([[1, 0.25], [-1, 0]], np.float32),
        ['Smith', 'Smith'], subgroups={'sex': ['F', 'M']},
    )  # fmt: skip
    text = write_samples(tmp_path / 'samples.csv', samples, {'split': ['train', 'test']})
    assert 'Smith' not in text
    first, second = csv.DictReader(text.splitlines())
    assert [(row['x'], row['y'], row['sex']) for row in (first, second)] == [('1', '0.25', 'F'), ('', '0', 'M')]
    assert first['group'] == second['group']
    salt = kept_salt(tmp_path / '.group_salt')
    salted = write_samples(tmp_path / 'samples.csv', samples, {'split': ['train', 'test']}, salt)
    assert hash_group('Smith') not in salted, 'guessed'
    assert kept_salt(tmp_path / '.group_salt') == salt != kept_salt(tmp_path / 'other')
    assert (tmp_path / '.group_salt').stat().st_mode & 0o777 == 0o600
    (tmp_path / '.group_salt').write_text('00')
    with pytest.raises(UserError, match=r'\.group_salt is damaged: remove it'):
        kept_salt(tmp_path / '.group_salt')
    samples.classes = ['file', 'y']
    with pytest.raises(UserError, match="a label is called 'file'"):
        write_samples(tmp_path / 'samples.csv', samples, {'split': ['train', 'test']})


def test_parts_without_labels_to_tell_apart_are_refused():
    look = looked(12, parts=['train'] * 6 + ['val'] * 3 + ['test'] * 3)
    look.samples.targets = np.array([0, 1] * 3 + [0] * 3 + [0, 1, 0])
    with pytest.raises(UserError, match='the val part has no two kinds of labels'):
        divide(look, None)


def test_folds_and_labels_without_both_kinds_are_refused_before_the_training():
    look = looked(60, groups=[f'p{i % 3}' for i in range(60)])
    with pytest.raises(UserError, match='the train part of fold0 has no image: more groups are needed than 3'):
        divide(look, None, folds=5)
    look = looked(60)
    look.samples.targets = np.array([0] * 59 + [1])
    with pytest.raises(UserError, match=r'the train part of fold\d has no image of '):
        divide(look, None, folds=3)
    look = looked(12, parts=['train'] * 6 + ['val'] * 3 + ['test'] * 3)
    look.samples.targets = np.array([[1], [0]] * 3 + [[1], [1], [-1]] + [[1], [0], [0]], np.float32)
    look.samples.classes = ['x']
    with pytest.raises(UserError, match='the val part has no two kinds of labels'):
        divide(look, None)


def test_groups_that_are_named_later_say_what_to_remove(tmp_path):
    look = looked(60)
    write_samples(tmp_path / 'samples.csv', look.samples, divide(look, None)[0])
    look.samples.groups = [f'p{i // 10}' for i in range(60)]
    with pytest.raises(UserError, match=r'two parts: group .* Remove them, or samples\.csv for a new division'):
        divide(look, read_parts(tmp_path / 'samples.csv'))


@pytest.mark.parametrize(('images', 'classes'), [(180, 60), (30, 22)])
def test_many_rare_classes_leave_no_part_empty(images, classes):
    """Three images each; and so few that one of each class is more than the first part's share."""
    look = looked(images, classes=[f'class {k:02d}' for k in range(classes)])
    look.samples.targets = np.arange(images) % classes
    parts = divide(look, None)[0]['split']
    for part, share in (('train', 0.7), ('val', 0.1), ('test', 0.2)):
        assert parts.count(part) / images > share / 2
