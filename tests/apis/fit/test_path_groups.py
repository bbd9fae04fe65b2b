import numpy as np
import pytest

from mmdensenet.apis.fit.path_groups import group_by_path, is_path_rule
from mmdensenet.apis.fit.samples import Samples, refuse
from mmdensenet.errors import UserError


def grouped(files, stated=None, answer=None, skip=1, classes=None, **options):
    """The groups of files whose first folder is their class, and what was asked."""
    kinds = sorted({file.split('/')[0] for file in files})
    targets = np.array(classes or [kinds.index(file.split('/')[0]) for file in files])
    samples = Samples('root', list(files), list(files), kinds, targets)
    asked = []

    def ask(question, key, choices):
        asked.append((question, choices))
        return answer if answer is not None else refuse(question, key, choices)

    group_by_path(samples, stated, skip, ask, **options)
    return samples, asked


@pytest.mark.parametrize(
    ('names', 'groups'),
    [
        (['patient012_view1', 'patient012_view2', 'patient013_view1'], ['patient012', 'patient012', 'patient013']),
        (['patient012view1', 'patient012view2', 'Patient 13'], ['patient012', 'patient012', 'Patient 13']),
        (['sub-01_T1w', 'sub-01_T2w', 'sub-02_T1w'], ['sub-01', 'sub-01', 'sub-02']),
        (['case-3f2a_1', 'case-3f2a_2', 'case-3f9b_1'], ['case-3f2a', 'case-3f2a', 'case-3f9b']),
        (['pat7L', 'pat7R', 'pat8L'], ['pat7', 'pat7', 'pat8']),
        (['patient1/view1', 'patient1/view2', 'patient2/view1'], ['patient1'] * 2 + ['patient2']),
        (['patient1/study1/view1', 'patient1/study2/view1', 'patient2/study1/view1'], ['patient1'] * 2 + ['patient2']),
    ],
)
def test_names_and_folders_with_the_word_for_a_patient_are_groups(names, groups):
    samples, asked = grouped([f'{"ab"[i % 2]}/{name}.jpg' for i, name in enumerate(names)])
    assert samples.groups == groups
    assert not asked
    assert 'groups: 2 by patient, named in the paths' in samples.facts[-1]


@pytest.mark.parametrize(
    ('files', 'choice', 'groups'),
    [
        (['cat/P012_03.png', 'dog/P012_04.png', 'cat/P013_01.png'], 'name', ['P012', 'P012', 'P013']),
        (['cat/x/P012_03.png', 'dog/y/P012_04.png', 'cat/z/P013_01.png'], 'name', ['P012', 'P012', 'P013']),
        (['cat/P012a.png', 'dog/P012b.png', 'cat/P013.png'], 'name', ['P012', 'P012', 'P013']),
        (['mild/10_left.jpeg', 'none/10_right.jpeg', 'none/13_left.jpeg'], 'name', ['10', '10', '13']),
        (['a/00000013_005.png', 'a/00000013_006.png', 'b/00000014_001.png', 'a/00000015_001.png'], 'name',
         ['00000013'] * 2 + ['00000014', '00000015']),
        (['a/7.png', 'a/7_flip.png', 'b/8 (1).png', 'b/8.png', 'b/9.png'], 'name', ['7', '7', '8', '8', '9']),
        # the first number is the same in all, or says the class
        (['a/s2 P1-1.png', 'b/s2 P1-2.png', 'b/s2 P2-1.png'], 'name', ['s2 P1', 's2 P1', 's2 P2']),
        (['a/n1_P1_1.png', 'a/n1_P1_2.png', 'b/n2_P2_1.png', 'b/n2_P3_1.png'], 'name',
         ['n1_P1', 'n1_P1', 'n2_P2', 'n2_P3']),
        (['cat/tom/x.png', 'cat/tom/y.png', 'dog/rex/x.png', 'dog/kim/x.png'], 'folder', ['tom', 'tom', 'rex', 'kim']),
        (['cat/img/tom/x.png', 'cat/img/tom/y.png', 'dog/img/rex/x.png', 'dog/img/kim/z.png'], 'folder',
         ['tom', 'tom', 'rex', 'kim']),
    ],
)  # fmt: skip
def test_what_may_be_patients_is_asked_for(files, choice, groups):
    with pytest.raises(UserError, match=rf'root: the paths may say what belongs together.*group={choice}, or none'):
        grouped(files)
    samples, asked = grouped(files, answer=choice)
    assert samples.groups == groups
    assert len(asked) == 1
    samples, _ = grouped(files, answer='none')
    assert samples.groups is None and samples.alone
    assert grouped(files, stated=choice)[0].groups == groups


@pytest.mark.parametrize(
    'files',
    [
        [f'{name}/{i:03d}.png' for name in 'ab' for i in range(4)],  # numbered class by class
        [f'{name}/{name}_{i}.png' for name in 'ab' for i in range(4)],
        [f'{name}/patient1_{i}.png' for name in 'ab' for i in range(4)],  # of one alone nothing can be divided
        [f'{name}/IMG_{i}.JPG' for name in 'ab' for i in range(4)],
        [f'{name}/{name}({i}).png' for name in 'ab' for i in range(4)],
        [f'n{k}/n{k}_{i}.JPEG' for k in (1440764, 1443537) for i in range(4)],  # the number of the class
        [f'{name}/scan 2021_{name}{i}.png' for name in 'ab' for i in range(4)],
        [f'{name}/{name}_images/{i}.png' for name in 'ab' for i in range(4)],
        [f'{name}/{number + 31 * i:x}e-b013-4a0f.png' for name, number in (('a', 403), ('b', 809)) for i in range(4)],
        [f'{name}/images/x{i}.png' for name in 'ab' for i in range(4)],
        [f'{name}/{name}{i}/one.png' for name in 'ab' for i in range(4)],  # a folder for each image
    ],
)
def test_names_that_say_nothing_are_not_asked_for(files):
    samples, asked = grouped(files)
    assert samples.groups is None
    assert not asked and not samples.alone


def test_a_regular_expression_takes_what_its_brackets_hold():
    files = ['cat/site1-P7-1.png', 'cat/site1-P7-2.png', 'dog/site2-P7-1.png', 'dog/other.png']
    samples, _ = grouped(files, stated=r'-(P\d+)-')
    assert samples.groups == ['P7', 'P7', 'P7', 'image dog/other.png']
    assert '1 images, such as dog/other.png, have no match and are taken each for itself' in samples.facts
    assert grouped(files, stated=r'(site\d)-(P\d+)')[0].groups[:3] == ['site1/P7', 'site1/P7', 'site2/P7']
    for stated, message in (
        (r'(P\d', 'is no regular expression'),
        (r'P\d', "give 'folder', 'name', 'none', or a regular expression with what belongs together in brackets"),
        (r'(Q\d)', 'cat/site1-P7-1.png has no such match, and no other image'),
        ('folder', 'has no such folder'),
    ):
        with pytest.raises(UserError, match=message):
            grouped(files, stated=stated)
    with pytest.raises(UserError, match=r'x\.png has no such'):
        grouped(['cat/x.png', 'dog/y.png'], stated='name')
    with pytest.raises(UserError, match="all images are in one group, 'P7', which cannot be divided"):
        grouped(files[:3], stated=r'-(P\d+)-')
    assert [is_path_rule(text) for text in ('name', r'(P\d)', '(P', 'patient', r'P\d')] == [True] * 3 + [False] * 2


def test_of_tables_a_few_folders_are_how_the_images_are_stored_and_dicom_is_read_first():
    files = [f'part_{i % 2}/x{i}.png' for i in range(8)]
    classes = [0, 0, 1, 1] * 2
    assert grouped(files, skip=0, classes=classes)[0].groups is None
    many = [f'dir{i // 2}/x{i}.png' for i in range(12)]
    assert grouped(many, skip=0, classes=[0, 0, 1, 1] * 3, answer='folder')[0].groups[:3] == ['dir0', 'dir0', 'dir1']
    files = ['a/P1_1.dcm', 'a/P1_2.dcm', 'b/P2_1.dcm', 'b/P3_1.dcm']
    assert grouped(files)[0].groups is None
    with pytest.raises(UserError, match='group=name, or none'):
        grouped(files, images_are_read=True)
