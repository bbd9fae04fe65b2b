import numpy as np
import pytest
from mmpretrain.registry import DATASETS

from mmdensenet.datasets import CSVDataset
from mmdensenet.datasets.labels import unlabelled_parts
from mmdensenet.errors import UserError

LABELS = ['edema', 'mass']


def write(tmp_path, text):
    (tmp_path / 'labels.csv').write_text(text)
    return dict(ann_file='labels.csv', data_root=str(tmp_path), data_prefix='images')


@pytest.fixture
def single(tmp_path):
    return write(tmp_path, 'image,kind,part\na.png,cat,train\nsub/b.png,dog,train\nc.png,cat,val\n')


@pytest.fixture
def multi(tmp_path):
    return write(tmp_path, 'image,edema,mass\na.png,1,0\nb.png,0.0,-1\nc.png,-1.0,\nd.png,1,1\n')


def test_single_label(single, tmp_path):
    dataset = DATASETS.build(dict(type='mmdensenet.CSVDataset', label_column='kind', pipeline=[], **single))
    assert tuple(dataset.CLASSES) == ('cat', 'dog')
    assert dataset.get_gt_labels().tolist() == [0, 1, 0]
    assert dataset.get_data_info(1)['img_path'] == str(tmp_path / 'images/sub/b.png')
    assert dataset.counts().tolist() == [[2, 1], [1, 2]]
    assert dataset.class_weights() == [pytest.approx(0.75), pytest.approx(1.5)]
    unseen = CSVDataset(label_column='kind', classes=['cow', 'cat', 'dog'], **single)
    assert unseen.class_weights() == [0, *dataset.class_weights()] and unseen.positive_weights() == [1, 0.5, 2]


def test_split_column(single):
    dataset = CSVDataset(label_column='kind', split_column='part', split='train', **single)
    assert [dataset.get_cat_ids(i) for i in range(len(dataset))] == [[0], [1]]
    val = CSVDataset(label_column='kind', split_column='part', split='val', **single)
    assert tuple(val.CLASSES) == ('cat', 'dog'), 'classes are those of the whole file'
    with pytest.raises(UserError, match="no rows for split='test'"):
        CSVDataset(label_column='kind', split_column='part', split='test', **single)


def test_a_part_may_be_a_number(tmp_path):
    """A column of folds, which pandas writes as 0.0 where a row has none."""
    rows = ''.join(f'{i}.png,{"ab"[i % 2]},{["0.0", "1.0", "0", ""][i % 4]}\n' for i in range(8))
    numbered = write(tmp_path, 'image,kind,fold\n' + rows)
    for fold, found in ((0, [0, 2, 4, 6]), ('0', [0, 2, 4, 6]), (0.0, [0, 2, 4, 6]), (1, [1, 5])):
        dataset = CSVDataset(label_column='kind', split_column='fold', split=fold, **numbered)
        assert [dataset.get_data_info(i)['img_path'][-5] for i in range(len(dataset))] == [*map(str, found)]
    with pytest.raises(UserError, match="no rows for split='2'"):
        CSVDataset(label_column='kind', split_column='fold', split=2, **numbered)


def test_one_column_of_labels_may_be_a_text(multi):
    dataset = CSVDataset(label_columns='edema', uncertain='ignore', **multi)
    assert tuple(dataset.CLASSES) == ('edema',)
    assert [dataset.get_data_info(i)['gt_score'].tolist() for i in range(4)] == [[1], [0], [-1], [1]]


def test_a_fault_that_is_not_in_the_table_is_not_said_to_be_there(single):
    """The messages for annotation files are of lines of a path and a number."""
    with pytest.raises(TypeError):
        CSVDataset(label_column='kind', split_by=dict(fractions=dict(a=1, b=1), seed='x'), split='a', **single)


def test_classes_in_the_order_of_the_config_and_numbers_by_value(single, tmp_path):
    dataset = CSVDataset(label_column='kind', classes=['dog', 'cat'], **single)
    assert dataset.get_gt_labels().tolist() == [1, 0, 1]
    with pytest.raises(UserError, match=r"row 3: kind is 'dog', which is none of the classes 'cat'"):
        CSVDataset(label_column='kind', classes=['cat'], **single)
    numbers = write(tmp_path, 'image,grade\na,10\nb,9\nc,2\n')
    assert tuple(CSVDataset(label_column='grade', **numbers).CLASSES) == ('2', '9', '10')


@pytest.mark.parametrize(
    ('uncertain', 'missing', 'expected'),
    [
        ('ignore', 'ignore', [[1, 0], [0, -1], [-1, -1], [1, 1]]),
        ('positive', 'negative', [[1, 0], [0, 1], [1, 0], [1, 1]]),
        ('negative', 'ignore', [[1, 0], [0, 0], [0, -1], [1, 1]]),
    ],
)
def test_several_labels_with_policies(multi, uncertain, missing, expected):
    dataset = CSVDataset(label_columns=LABELS, uncertain=uncertain, missing=missing, **multi)
    scores = np.stack([dataset.get_data_info(i)['gt_score'] for i in range(4)])
    assert scores.tolist() == expected and scores.dtype == np.float32
    assert tuple(dataset.CLASSES) == tuple(LABELS)
    assert dataset.get_cat_ids(3) == [0, 1]
    assert dataset.counts().tolist() == [[(scores[:, j] == 1).sum(), (scores[:, j] == 0).sum()] for j in range(2)]


def test_soft_labels_are_trained_on_as_they_are_and_counted_from_a_half(tmp_path):
    files = write(tmp_path, 'image,edema,mass\na.png,0.25,1\nb.png,0.5,0\nc.png,0.75,\n')
    dataset = CSVDataset(label_columns=LABELS, missing='ignore', **files)
    assert dataset.get_data_info(0)['gt_score'].tolist() == [0.25, 1]
    assert [dataset.get_cat_ids(i) for i in range(3)] == [[1], [], [0]]
    assert dataset.counts().tolist() == [[1, 2], [1, 1]]
    wrong = write(tmp_path, 'image,edema,mass\na.png,1.25,1\n')
    with pytest.raises(UserError, match=r"row 2, column 'edema': '1\.25' is none of 1, 0, -1"):
        CSVDataset(label_columns=LABELS, **wrong)


@pytest.mark.parametrize('policy', ['ignore', 'positive', 'negative'])
def test_positive_weights(patients, tmp_path, policy):
    """Absences over presences of each label, as BCEWithLogitsLoss takes them, whatever the unknown ones count as."""
    file = tmp_path / 'labels.csv'
    head, *rows = file.read_text().splitlines()
    rows = [row if i % 5 else row[: row.rindex(',')] + ',-1' for i, row in enumerate(rows)]
    file.write_text('\n'.join([head, *rows]))
    dataset = CSVDataset(label_columns=LABELS, uncertain=policy, **patients)
    scores = np.stack([dataset.get_data_info(i)['gt_score'] for i in range(len(dataset))])
    assert (scores == -1).sum() == (40 if policy == 'ignore' else 0)
    assert dataset.positive_weights() == [pytest.approx((s == 0).sum() / (s == 1).sum()) for s in scores.T]


def test_a_policy_has_to_be_stated(multi):
    with pytest.raises(
        UserError, match=r"row 3, column 'mass' is uncertain: say what that counts as, dataset\.uncertain"
    ):
        CSVDataset(label_columns=LABELS, missing='ignore', **multi)
    with pytest.raises(UserError, match=r"row 4, column 'mass' is missing: .*dataset\.missing"):
        CSVDataset(label_columns=LABELS, uncertain='ignore', **multi)


@pytest.fixture
def patients(tmp_path):
    rng = np.random.default_rng(0)
    rows = [f'{i}.png,p{rng.integers(30)},{int(rng.random() < 0.3)},{int(rng.random() < 0.5)}' for i in range(200)]
    return write(tmp_path, '\n'.join(['image,patient,edema,mass', *rows]))


def paths(settings, split, **rule):
    dataset = CSVDataset(label_columns=LABELS, split=split, split_by=rule, **settings)
    return {dataset.get_data_info(i)['img_path'] for i in range(len(dataset))}


def test_no_patient_is_in_two_splits(patients, tmp_path):
    rule = dict(fractions=dict(train=0.6, val=0.2, test=0.2), group='patient')
    parts = [paths(patients, split, **rule) for split in ('train', 'val', 'test')]
    assert sum(map(len, parts)) == 200 == len(set.union(*parts))
    of = {row.split(',')[0]: row.split(',')[1] for row in (tmp_path / 'labels.csv').read_text().splitlines()[1:]}
    people = [{of[path.rsplit('/', 1)[1]] for path in part} for part in parts]
    assert not (people[0] & people[1] or people[0] & people[2] or people[1] & people[2])
    assert len(parts[0]) == pytest.approx(120, abs=10)


def test_samples_know_their_patient(patients, tmp_path):
    of = {row.split(',')[0]: row.split(',')[1] for row in (tmp_path / 'labels.csv').read_text().splitlines()[1:]}
    split = dict(split='val', split_by=dict(folds=4, fold=0, group='patient'))
    for settings in (dict(group_column='patient'), split):
        dataset = CSVDataset(label_columns=LABELS, **patients, **settings)
        for i in range(len(dataset)):
            info = dataset.get_data_info(i)
            assert info['group'] == of[info['img_path'].rsplit('/', 1)[1]]
    assert 'group' not in CSVDataset(label_columns=LABELS, **patients).get_data_info(0)
    with pytest.raises(UserError, match="no column 'person'"):
        CSVDataset(label_columns=LABELS, group_column='person', **patients)


def test_rows_without_a_patient_are_no_group_of_two_tables(tmp_path):
    found = []
    for part in ('train', 'val'):
        (tmp_path / part).mkdir()
        settings = write(tmp_path / part, 'image,kind,patient\na.png,cat,7\nb.png,dog,\nc.png,dog,NA\n')
        dataset = CSVDataset(label_column='kind', group_column='patient', **settings)
        found.append([dataset.get_data_info(i)['group'] for i in range(3)])
        assert found[-1] == ['7', f'row 3 of {dataset.ann_file}', f'row 4 of {dataset.ann_file}']
    assert {*found[0]} & {*found[1]} == {'7'}


def test_folds_are_each_once_for_validation(patients):
    rule = dict(folds=4, group='patient')
    val = [paths(patients, 'val', fold=fold, **rule) for fold in range(4)]
    assert sum(map(len, val)) == 200 == len(set.union(*val))
    assert paths(patients, 'train', fold=1, **rule) == set.union(*val) - val[1]


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(), 'label_column'),
        (dict(label_column='kind', label_columns=['kind']), 'label_column'),
        (dict(label_column='colour'), r"no column 'colour'\. It has 'image', 'kind', 'part'"),
        (dict(label_columns=['kind']), "'cat' is none of 1, 0, -1"),
        (dict(label_column='kind', uncertain='maybe'), "dataset.uncertain='maybe'"),
        (dict(label_column='kind', split='train'), 'needs split_column or split_by'),
        (dict(label_column='kind', split_column='part'), 'say with split'),
        (dict(label_column='kind', ann_file='gone.csv'), r'gone\.csv does not exist'),
        (dict(label_column='kind', split_column='part', split=['train', 'val']), r"split=\['train', 'val'\]: give one"),
        (dict(label_column='kind', separator=''), "separator='': give one text"),
        (dict(label_column='kind', separator='|', no_label=['cat']), r"no_label=\['cat'\]: give one text"),
        (dict(label_column='kind', split_column='part', split='Train'), "'part' has 'train' beside split='Train'"),
    ],
)
def test_mistakes(single, settings, message):
    with pytest.raises(UserError, match=message):
        CSVDataset(**{**single, **settings})


def test_two_spellings_of_a_class_are_one_unless_both_are_stated(tmp_path):
    table = write(tmp_path, 'image,kind\na.png,Cat\nb.png,cat\nc.png,x\n')
    with pytest.raises(UserError, match="row 3: kind 'cat' is likely 'Cat': write both alike, or name all classes"):
        CSVDataset(label_column='kind', **table)
    dataset = CSVDataset(label_column='kind', classes=['cat', 'Cat', 'x'], **table)
    assert dataset.get_gt_labels().tolist() == [1, 0, 2]


def test_two_spellings_of_a_label_in_lists(tmp_path):
    table = write(tmp_path, 'image,kind\na.png,Cat|dog\nb.png,cat\n')
    with pytest.raises(UserError, match="row 3: kind 'cat' is likely 'Cat': write both alike"):
        CSVDataset(label_column='kind', separator='|', **table)
    dataset = CSVDataset(label_column='kind', separator='|', classes=['Cat', 'cat', 'dog'], **table)
    assert [info['gt_score'].tolist() for info in map(dataset.get_data_info, range(2))] == [[1, 0, 1], [0, 1, 0]]


def test_an_accent_as_one_character_and_as_two(tmp_path):
    table = write(tmp_path, 'image,kind\na.png,caf\u00e9\nb.png,cafe\u0301\n')
    with pytest.raises(UserError, match=r"row 2: .*\('caf\\xe9' and 'cafe\\u0301'\): write both alike"):
        CSVDataset(label_column='kind', **table)


def test_short_rows(tmp_path):
    with pytest.raises(UserError, match='row 3: too few fields'):
        CSVDataset(label_column='kind', **write(tmp_path, 'image,kind\na,cat\nb\n'))


def test_images_without_labels(multi, tmp_path):
    (tmp_path / 'labels.csv').write_text('image,patient\na.png,1\nb.png,1\nc.png,2\nd.png,3\n')
    plain = DATASETS.build(dict(type='mmdensenet.CSVDataset', with_label=False, group_column='patient', **multi))
    infos = [plain.get_data_info(i) for i in range(4)]
    assert [set(info) for info in infos] == [{'img_path', 'group', 'sample_idx'}] * 4
    assert infos[2]['img_path'] == str(tmp_path / 'images/c.png') and unlabelled_parts(plain) == [plain]
    for names in (dict(label_columns=LABELS), dict(label_column='kind', classes=LABELS), dict(classes=LABELS)):
        named = CSVDataset(with_label=False, **names, **multi)
        assert list(named.CLASSES) == LABELS and 'gt_score' not in named.get_data_info(0)
    parts = dict(fractions=dict(a=0.5, b=0.5), group='patient')
    divided = [CSVDataset(with_label=False, split_by=parts, split=part, **multi) for part in 'ab']
    assert sorted(info['img_path'] for part in divided for info in map(part.get_data_info, range(len(part)))) == [
        info['img_path'] for info in infos
    ]
    with pytest.raises(UserError, match='with_label=False for images without labels'):
        CSVDataset(**multi)


def test_names_in_a_file(multi, tmp_path):
    (tmp_path / 'names.txt').write_text('edema\nmass\n')
    given = dict(label_columns=LABELS, uncertain='ignore', missing='ignore', **multi)
    file = str(tmp_path / 'names.txt')
    for names in (dict(classes=file), dict(metainfo=dict(classes=file))):
        assert list(CSVDataset(**names, **given).CLASSES) == LABELS
    for names in (dict(classes='gone.txt'), dict(metainfo=dict(classes='gone.txt'))):
        with pytest.raises(UserError, match=r"classes='gone.txt': no such file"):
            CSVDataset(**names, **given)
    with pytest.raises(UserError, match=r"classes='gone.txt': no such file"):
        CSVDataset(label_column='edema', metainfo=dict(classes='gone.txt'), **multi)


def one_column(tmp_path, labels, **settings):
    text = 'image,y\n' + ''.join(f'{i}.png,{label}\n' for i, label in enumerate(labels))
    dataset = CSVDataset(label_column='y', **write(tmp_path, text), **settings)
    return dataset.metainfo['classes'], [dataset.get_data_info(i)['gt_label'] for i in range(len(dataset))]


def test_labels_of_one_column(tmp_path):
    assert one_column(tmp_path, ['1', '1.0', '0', '10.00']) == (('0', '1', '10'), [1, 1, 0, 2])
    assert one_column(tmp_path, ['0', '1.0'], classes=['1', '0']) == (('1', '0'), [1, 0])
    assert one_column(tmp_path, ['01', '1']) == (('01', '1'), [0, 1]), 'names, not numbers'
    for empty in ('', 'NaN', 'NA', 'null'):
        with pytest.raises(UserError, match=rf"row 3: the y '{empty}' is missing: .*dataset\.missing='ignore'"):
            one_column(tmp_path, ['cat', empty])
        assert one_column(tmp_path, ['cat', empty, 'dog'], missing='ignore') == (('cat', 'dog'), [0, 1])
    with pytest.raises(UserError, match=r"row 3: the y '-1' is uncertain: .*If -1 is a class"):
        one_column(tmp_path, ['0', '-1'])
    assert one_column(tmp_path, ['0', '-1', '1'], uncertain='ignore') == (('0', '1'), [0, 1])
    assert one_column(tmp_path, ['1', '-1'], classes=['-1', '1']) == (('-1', '1'), [1, 0])
    with pytest.raises(UserError, match=r"of the classes '1', '1\.0' two are the same"):
        one_column(tmp_path, ['1', '1.0'], classes=['1', '1.0'])
    assert one_column(tmp_path, ['none', 'mild'], classes=['none', 'mild']) == (('none', 'mild'), [0, 1])


def test_separators_at_the_end_are_no_missing_label_and_minus_one_is_none_of_the_labels(tmp_path):
    table = write(tmp_path, 'image,y\n0.png,a|b\n1.png,a|\n2.png,-1\n')
    settings = dict(label_column='y', separator='|', **table)
    with pytest.raises(UserError, match=r"row 4, column 'y' is uncertain: say what that counts as"):
        CSVDataset(**settings)
    found = CSVDataset(uncertain='ignore', **settings)
    assert tuple(found.CLASSES) == ('a', 'b')
    assert [info['gt_score'].tolist() for info in map(found.get_data_info, range(3))] == [[1, 1], [1, 0], [-1, -1]]


def test_lists_of_labels_in_one_column(tmp_path):
    with pytest.raises(UserError, match=r"row 2: y 'a\|b' lists several labels: give dataset\.separator"):
        one_column(tmp_path, ['a|b', 'a'])
    table = write(tmp_path, 'image,y\n0.png,a|b\n1.png,No Finding\n2.png,b\n3.png,\n')
    settings = dict(label_column='y', separator='|', no_label='No Finding', **table)
    dataset = CSVDataset(missing='ignore', **settings)
    assert dataset.metainfo['classes'] == ('a', 'b')
    scores = np.stack([dataset.get_data_info(i)['gt_score'] for i in range(4)])
    assert scores.tolist() == [[1, 1], [0, 0], [0, 1], [-1, -1]] and scores.dtype == np.float32
    assert dataset.counts().tolist() == [[1, 2], [2, 1]]
    with pytest.raises(UserError, match="row 5, column 'y' is missing"):
        CSVDataset(**settings)
    with pytest.raises(UserError, match="row 2: y has 'b', which is neither no_label nor one of the classes 'a'"):
        CSVDataset(missing='ignore', classes=['a'], **settings)


def test_words_for_missing_labels_of_columns(tmp_path):
    table = write(tmp_path, 'image,A\n0.png,NaN\n1.png,NA\n2.png, 1.0 \n')
    dataset = CSVDataset(**table, label_columns=['A'], missing='negative')
    assert [dataset.get_data_info(i)['gt_score'].item() for i in range(3)] == [0, 0, 1]
    with pytest.raises(UserError, match=r"label_columns are \['A'\], and classes \['B'\]"):
        CSVDataset(**table, label_columns=['A'], missing='negative', metainfo=dict(classes=['B']))
