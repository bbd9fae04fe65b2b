import csv
import json

import cv2
import numpy as np
import own_images
import pytest
from forks import fork, wait
from helpers import read_csv

import mmdensenet
from mmdensenet.apis.fit import write_config
from mmdensenet.checkpoints.one_run import alone_in
from mmdensenet.errors import UserError


@pytest.fixture(autouse=True)
def speed(monkeypatch):
    monkeypatch.setattr(write_config, 'seconds_per_image', lambda *args: (0.001, 10**6))


def fit(data, work, **options):
    lines = []
    done = mmdensenet.fit(data, work_dir=work, dry_run=True, report=lines.append, **options)
    return done, '\n'.join(lines)


def test_a_dry_run_writes_what_it_found_and_a_config_and_says_what_changed(tmp_path):
    data, work = own_images.class_folders(tmp_path / 'data', 20, ('a', 'b'), side=16), tmp_path / 'work'
    done, text = fit(data, work)
    assert done.config == str(work / 'config.py')
    assert 'changed' not in text
    assert json.loads((work / 'look.json').read_text())['result'] == done.found
    first = (work / 'config.py').read_text()
    done, text = fit(data, work)
    assert 'as before' in text
    assert 'changed' not in text
    # other options
    _, text = fit(data, work, minutes=1)
    assert 'changed since the last call: minutes: None -> 1' in text
    assert (work / 'config.py').read_text() != first
    # other data
    own_images.class_folders(tmp_path / 'data', 21, ('a', 'b'), side=16)
    _, text = fit(data, work, minutes=1)
    assert 'changed since the last call: images' in text
    assert '40 images stay in their part, 2 are new' in text
    assert ('minutes', 1) in read_made_of(work).items() and 'network' not in read_made_of(work)
    _, text = fit(data, work, minutes=1, network='densenet-bc-l22-k12')
    assert 'changed since the last call: network: None -> densenet-bc-l22-k12' in text
    fit(data, work, minutes=1)
    # an edited config
    edited = (work / 'config.py').read_text().replace('lr=', 'lr=0.5 * ')
    (work / 'config.py').write_text(edited)
    _, text = fit(data, work, minutes=1)
    assert 'was edited: it is used as it is' in text
    assert (work / 'config.py').read_text() == edited
    with pytest.raises(UserError, match=r'config.py was edited, and these are others now: minutes: 1 -> 2'):
        fit(data, work, minutes=2)


def read_made_of(work):
    return json.loads((work / 'config.json').read_text())['made_of']


def test_another_work_directory_takes_the_parts_of_an_earlier_one(tmp_path):
    data = own_images.class_folders(tmp_path / 'data', 20, ('a', 'b'), side=16)
    first = read_csv(fit(data, tmp_path / 'work')[0].samples)
    for name in first[::3]:
        name['split'] = 'train'  # none that would come out by itself
    with (tmp_path / 'old.csv').open('w', newline='') as out:
        writer = csv.DictWriter(out, first[0])
        writer.writeheader()
        writer.writerows(first)
    own_images.class_folders(tmp_path / 'data', 24, ('a', 'b'), side=16)
    done, text = fit(data, tmp_path / 'other', split=str(tmp_path / 'old.csv'))
    assert '40 images stay in their part, 8 are new' in text
    now = {row['image']: row['split'] for row in read_csv(done.samples)}
    assert all(now[row['image']] == row['split'] for row in first)
    with pytest.raises(UserError, match=r'split=.*none.csv does not exist'):
        fit(data, tmp_path / 'third', split=str(tmp_path / 'none.csv'))
    with pytest.raises(UserError, match=r'the earlier samples\.csv has one split, and this call 3 folds'):
        fit(data, tmp_path / 'third', split=str(tmp_path / 'old.csv'), folds=3)
    elsewhere = own_images.class_folders(tmp_path / 'else', 12, ('c', 'd'), side=16)
    with pytest.raises(UserError, match=r'has none of these images, such as c/000\.png'):
        fit(elsewhere, tmp_path / 'third', split=str(tmp_path / 'old.csv'))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(labels='a,b'), r"labels='a,b': give a list of different names"),
        (dict(labels=['a', 'a']), 'give a list of different names'),
        (dict(minutes=0), 'minutes=0: give more than 0'),
        (dict(label='x'), 'label=x: is for a table'),
        (dict(images='x'), 'images=x: is for a table'),
        (dict(weights='none.pth'), 'none.pth'),
        (dict(network='densenet12'), r'densenet12 does not exist\. Did you mean densenet121'),
        (dict(network='densenetblur121d'), 'images of 16 pixels are too small for densenetblur121d'),
        (dict(operating_point='best'), 'best'),
        (dict(predict='none'), 'predict=none does not exist'),
    ],
)
def test_mistakes(tmp_path, options, message):
    data = own_images.class_folders(tmp_path / 'data', 12, ('a', 'b'), side=16)
    with pytest.raises(UserError, match=message):
        fit(data, tmp_path / 'work', **options)
    with pytest.raises(UserError, match='is the folder of the images: give another'):
        fit(data, data)
    with pytest.raises(UserError, match='does not exist'):
        fit(tmp_path / 'none', tmp_path / 'work')
    with pytest.raises(UserError, match='neither a folder nor a table'):
        fit(data / 'a/000.png', tmp_path / 'work')


def test_a_name_that_samples_csv_cannot_hold_comes_before_the_images_are_read(tmp_path):
    data = own_images.class_folders(tmp_path / 'data', 12, (' a', 'b'), side=16)
    with pytest.raises(UserError, match=r"data/ a/000\.png': this name begins or ends with a space"):
        fit(data, tmp_path / 'work')
    assert not (tmp_path / 'work' / 'pictures.jsonl').exists()


def test_a_rule_for_one_class_is_refused_for_labels_before_the_training(tmp_path):
    table = own_images.chexpert(tmp_path, 24, side=16)
    options = dict(uncertain='ignore', missing='ignore', work_dir=tmp_path / 'work', report=lambda line: None)
    with pytest.raises(UserError, match='operating_point=argmax: give youden'):
        mmdensenet.fit(table, dry_run=True, operating_point='argmax', **options)


def test_an_image_to_predict_that_cannot_be_read_is_found_before_the_training(tmp_path):
    data = own_images.class_folders(tmp_path / 'data', 12, ('a', 'b'), side=16)
    for name in ('1.png', '2.png'):
        own_images.write(tmp_path / 'new' / name, np.zeros((20, 9), np.uint8))
    np.save(tmp_path / 'new' / '3.npy', np.zeros((20, 9), np.uint8))
    options = dict(dry_run=True, predict=tmp_path / 'new', work_dir=tmp_path / 'work', report=lambda line: None)
    assert mmdensenet.fit(data, **options).config
    (tmp_path / 'new' / '2.png').write_bytes(b'cut short')
    with pytest.raises(UserError, match=r'2\.png cannot be read as an image'):
        mmdensenet.fit(data, **options)


def test_data_that_are_not_there_come_before_packages_that_are_not(tmp_path, monkeypatch):
    def missing():
        raise UserError('onnx is not installed')

    monkeypatch.setattr('mmdensenet.apis.fit.run.require_hand_over', missing)
    data = own_images.class_folders(tmp_path / 'photos', 12, ('a', 'b'), side=16)
    for wrong in ('photso', 'photos.csv'):
        with pytest.raises(UserError, match=rf'{wrong} does not exist.*Did you mean photos\?'):
            mmdensenet.fit(tmp_path / wrong, work_dir=tmp_path / 'work')
    for name, value in (('predict', 'none'), ('split', 'none.csv')):
        with pytest.raises(UserError, match=f'{name}={value} does not exist'):
            mmdensenet.fit(data, work_dir=tmp_path / 'work', **{name: value})
    with pytest.raises(UserError, match='onnx is not installed'):
        mmdensenet.fit(data, work_dir=tmp_path / 'work')
    assert not (tmp_path / 'work').exists()


def test_two_calls_at_once_in_a_folder_are_refused(tmp_path):
    data = own_images.class_folders(tmp_path / 'data', 12, ('a', 'b'), side=16)

    def other():
        fit(data, tmp_path / 'work')

    (tmp_path / 'work').mkdir()
    with alone_in(tmp_path / 'work'):
        assert wait([fork(other, tmp_path / 'out')]) == [1]
    assert 'another run trains there' in (tmp_path / 'out').read_text()


@pytest.fixture(scope='module')
def fitted(tmp_path_factory):
    """600 images of 64 pixels in a table with patients, a few of which are copied, cut short and labelled wrongly."""
    root = tmp_path_factory.mktemp('fit')
    file = own_images.nih(root / 'data', 600)
    (root / 'data/test_list.txt').unlink()
    images = sorted((root / 'data').glob('images_*/images/*.png'))
    images[10].write_bytes(images[400].read_bytes())
    cv2.imwrite(str(images[20]), cv2.imread(str(images[401]), 0) // 8 * 8)  # the same with fewer grey values
    images[30].write_bytes(images[30].read_bytes()[:300])
    lines = []
    done = mmdensenet.fit(
        file, work_dir=root / 'work', subgroups=['Patient Gender'], predict=images[-1].parent, report=lines.append
    )
    return root, images, done, '\n'.join(lines)


@pytest.mark.slow
def test_a_whole_run_finds_the_faults_and_learns_the_task(fitted):
    _, images, done, text = fitted
    assert [each['image'] for each in done.found['unreadable']] == [images[30].name]
    assert [sorted(each) for each in done.found['exact_duplicates']] == [sorted((images[10].name, images[400].name))]
    assert [sorted(each) for each in done.found['near_duplicates']] == [sorted((images[20].name, images[401].name))]
    overall = done.figures['judgement']['overall']
    assert overall['macro AUROC']['value'] >= 0.95
    assert overall['coverage']['value'] >= 0.8
    assert {part['column'] for part in done.figures['judgement']['subgroups']} == {'Patient Gender'}
    assert {'report', 'onnx', 'predictions', 'submission', 'suspicious', 'model_card', 'readme'} <= set(done.files)
    for step in ('1. Look', '2. Split', '3. Write', '4. Train', '5. Decide', '6. Judge', '7. Hand over'):
        assert step in text


@pytest.mark.slow
def test_the_exported_file_decides_as_the_checkpoint_and_the_judgement(fitted):
    root, _, done, _ = fitted
    rows = [row for row in read_csv(root / 'work/samples.csv') if row['split'] == 'test']
    paths = [str(root / 'data' / row['file']) for row in rows]
    from mmdensenet.apis import open_inferencer

    exported = open_inferencer(done.files['onnx'])(paths)
    model = open_inferencer(done.config, done.checkpoints[0])(paths)
    table = {row['Image Index']: row for row in read_csv(done.files['predictions'])}
    assert len(table) == len(rows) > 100
    hits = np.zeros(2)
    for row, one, other in zip(rows, exported, model):
        assert one['pred_label'] == other['pred_label'], 'the same thresholds'
        written = [float(table[row['image']][name]) for name in own_images.SHAPES if name in row]
        np.testing.assert_allclose(sorted(one['pred_scores']), sorted(written), atol=1e-4)
        hits += np.array([(row['disc'] == '1') and ('disc' in one['pred_class']), row['disc'] == '1'])
    (label,) = [each for each in done.figures['judgement']['labels'] if each['name'] == 'disc']
    assert hits[0] / hits[1] == pytest.approx(label['figures']['sensitivity']['value'])


@pytest.mark.slow
def test_a_second_call_does_nothing_again(fitted, monkeypatch):
    root, _, before, _ = fitted
    monkeypatch.setattr('mmdensenet.apis.fit.train_best.train_model', None)
    monkeypatch.setattr('mmdensenet.apis.fit.kept_scores.score_part', None)
    monkeypatch.setattr('mmdensenet.apis.fit.last_steps.hand_over', None)
    lines = []
    done = mmdensenet.fit(
        root / 'data/Data_Entry_2017.csv',
        work_dir=root / 'work',
        subgroups=['Patient Gender'],
        predict=root / 'data/images_002/images',
        report=lines.append,
    )
    assert done.to_dict() == before.to_dict()
    assert not any('changed' in line for line in lines)


@pytest.mark.slow
def test_folds_hand_over_their_ensemble(tmp_path):
    """A table as Kaggle's, with ids in the place of names; its images without labels are a table too."""
    root, ids = tmp_path / 'data', [f'{i:04x}' for i in range(60)]
    for i, name in enumerate(ids + ['new1', 'new2']):
        pixels = np.random.default_rng(i).integers(0, 60, (16, 16)) + (i % 2) * 150
        own_images.write(root / 'images' / f'{name}.png', pixels.astype(np.uint8))
    (root / 'train.csv').write_text('id,label\n' + ''.join(f'{name},{"ab"[i % 2]}\n' for i, name in enumerate(ids)))
    (root / 'sample_submission.csv').write_text('id,label\nnew2,a\nnew1,a\n')
    options = dict(
        work_dir=tmp_path / 'work', folds=3, minutes=0.5, group='none', predict=root / 'sample_submission.csv'
    )
    done = mmdensenet.fit(root / 'train.csv', root / 'images', report=lambda line: None, **options)
    assert len(done.checkpoints) == 3 and done.figures['judgement']['images'] == 60
    written = {name: read_csv(done.files[name]) for name in ('predictions', 'submission')}
    assert list(written['submission'][0]) == list(written['predictions'][0]) == ['id', 'a', 'b']
    assert [row['id'] for row in written['predictions']] == ids
    from mmdensenet.apis import open_inferencer

    paths = [str(root / f'images/{row["id"]}.png') for row in written['submission']]
    assert [row['id'] for row in written['submission']] == ['new2', 'new1']
    for row, result in zip(written['submission'], open_inferencer(done.files['onnx'])(paths)):
        assert [float(row[name]) for name in 'ab'] == pytest.approx(result['pred_scores'].tolist(), abs=2e-6)
    lines = []
    again = mmdensenet.fit(root / 'train.csv', root / 'images', report=lines.append, **options)
    assert again.to_dict() == done.to_dict() and not any('changed' in line for line in lines)
