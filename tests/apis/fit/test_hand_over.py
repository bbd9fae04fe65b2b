"""Step 7: what is handed over is right, explains itself, and has no patient and no folder of this machine in it."""

import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from fit_work_dir import FOLDER, PATIENT, make_work_dir, scores_of
from helpers import read_csv
from mmengine.config import Config
from PIL import Image

from mmdensenet import get_model, inference
from mmdensenet.apis import test_model as check_model
from mmdensenet.apis.fit.hand_over import hand_over
from mmdensenet.apis.fit.judge import judge
from mmdensenet.apis.scoring import score_part
from mmdensenet.results.decisions import Decisions
from mmdensenet.results.scores import read_scores

pytest.importorskip('onnxruntime', reason='onnxruntime is not installed (the extra export)')


def bytes_of(file: Path) -> bytes:
    """Return the content of a file, and of the files packed in it."""
    content = file.read_bytes()
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            content += b''.join(archive.read(name) for name in archive.namelist())
    return content


@pytest.fixture(
    scope='module',
    params=[pytest.param(False, marks=pytest.mark.slow), True],
    ids=['one class', 'several labels'],
)
def handed(request, tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp('fit')
    work, config, checkpoint = make_work_dir(tmp_path, request.param)
    root = tmp_path / FOLDER / 'pictures'
    rows = [list(row.values()) for row in read_csv(work / 'samples.csv')]
    model = get_model(Config.fromfile(config), str(checkpoint))
    classes = list(model._dataset_meta['classes'])
    validation = scores_of(model, root, rows, classes, request.param)
    new = tmp_path / 'new' / 'deep'
    new.mkdir(parents=True)
    for i in range(3):
        Image.fromarray(np.full((30, 30, 3), 60 * i, np.uint8)).save(new / f'{i}.png')
    done = hand_over(
        work, config, checkpoint, validation=validation, predict=new.parent, bootstrap=100, gallery=3, device='cpu'
    )
    return work, done, tmp_path, classes, model


def test_no_patient_and_no_folder_is_handed_over(handed):
    work, done, tmp_path, *_ = handed
    public = ['report', 'onnx', 'model_card', 'readme', 'predictions', 'suspicious', 'submission']
    assert set(public) <= set(done.files)
    for name in public:
        content = bytes_of(done.files[name])
        for secret in (PATIENT, FOLDER, str(tmp_path), str(Path(__file__).parents[3]), str(Path.home()) + '/'):
            assert secret.encode() not in content, (name, secret)
            assert secret.encode('utf-16-le') not in content, (name, secret)
    assert bytes_of(work / 'best.pth').count(FOLDER.encode()), 'what is looked for can be found'


def test_predictions_are_those_of_predict(handed):
    """With names as in the table, and by the ONNX file the same."""
    work, done, tmp_path, classes, _ = handed
    rows = read_csv(done.files['predictions'])
    assert list(rows[0]) == ['image', *classes] and len(rows) == 24
    samples = {row['image']: row for row in read_csv(work / 'samples.csv')}
    assert {row['image'] for row in rows} == {name for name, row in samples.items() if row['split'] == 'test'}
    paths = [str(tmp_path / FOLDER / 'pictures' / samples[row['image']]['file']) for row in rows]
    found = np.array([[float(row[name]) for name in classes] for row in rows])
    for model, checkpoint in ((work / 'animals.py', str(work / 'best.pth')), (done.files['onnx'], None)):
        results = inference(model, paths, checkpoint, device='cpu')
        assert np.abs(found - [result['pred_scores'] for result in results]).max() < 1e-4
    assert done.onnx_difference < 1e-4


def test_the_onnx_file_is_tested_as_the_checkpoint(handed, tmp_path):
    work, done, *_ = handed
    config = str(work / 'animals.py')
    found = score_part(config, str(work / 'best.pth'), 'test')
    lines = []
    metrics = check_model(config, str(done.files['onnx']), out=str(tmp_path / 'onnx.json'), report=lines.append)
    wanted = check_model(config, str(work / 'best.pth'), work_dir=str(tmp_path))
    assert metrics == pytest.approx(wanted, abs=1e-4, nan_ok=True) and any(n.startswith('decided/') for n in metrics)
    several = found.multi_label
    rows = read_scores(tmp_path / 'onnx.json', several, found.classes)
    assert rows.paths == found.paths and np.array_equal(rows.truth, found.truth)
    assert np.abs(rows.logits - found.logits).max() < 1e-3 * np.abs(found.logits).max()
    assert lines[0].startswith('Scores are ')


def test_predictions_are_calibrated(handed):
    *_, model = handed
    decisions = model._checkpoint_meta['decisions']
    assert any(t is not None and abs(t - 1) > 0.05 for t in decisions['temperatures'])


def test_the_submission_is_called_as_in_the_folder(handed):
    _, done, _, classes, _ = handed
    rows = read_csv(done.files['submission'])
    assert [row['image'] for row in rows] == ['deep/0.png', 'deep/1.png', 'deep/2.png']
    assert list(rows[0]) == ['image', *classes]


def test_the_report_lists_suspicious_labels(handed):
    _, done, *_ = handed
    page = done.files['report'].read_text()
    rows = read_csv(done.files['suspicious'])
    assert done.suspicious == len(rows) > 3
    part = page[page.index('id="suspicious"') : page.index('id="training"')]
    assert part.count('<img src="data:image') == 3 and f'{len(rows)} labels among 48 images' in part
    assert 'row 1 of suspicious.csv' in part and '.png' not in page
    assert all(re.fullmatch(r'study\\\d+', row['image']) for row in rows)


def test_the_report_says_which_figures_are_those_of_the_decisions(handed):
    page = handed[1].files['report'].read_text()
    assert 'are of the calibrated probabilities and the decided labels' in page[: page.index('id="confusion"')]
    assert 'fit one on validation images' not in page


def test_the_model_card_is_read_by_hubs(handed):
    work, done, _, classes, model = handed
    text = done.files['model_card'].read_text()
    front = yaml.safe_load(text.split('---')[1])
    metrics = front['model-index'][0]['results'][0]['metrics']
    assert front['library_name'] == 'mmdensenet' and front['pipeline_tag'] == 'image-classification'
    assert metrics and all(isinstance(metric['value'], float | int) for metric in metrics)
    hub = pytest.importorskip('huggingface_hub', reason='huggingface_hub is not installed')
    assert hub.ModelCard(text).data.eval_results[0].metric_value == metrics[0]['value']
    assert re.search(r'- 24 images of 12 groups.*\n- .*AUROC', text), 'what was judged at the stored points'
    decisions = Decisions.from_dict(model._checkpoint_meta['decisions'], 'the checkpoint')
    scores = score_part(str(work / 'animals.py'), str(work / 'best.pth'), 'test')
    figures = judge(scores, decisions, resamplings=100).to_dict()['overall']
    assert {m['name']: m['value'] for m in metrics} == {
        name: round(each['value'], 4) for name, each in figures.items() if each['value'] is not None
    }
    for words in ('no medical device', '(author)', *classes, 'fitted on 48 images', 'of 12 groups'):
        assert words in text


def test_the_folder_explains_itself(handed):
    work, done, *_ = handed
    text = done.files['readme'].read_text()
    written = {path.name for path in work.iterdir()} - {'README.txt'}
    assert {name for name in written if name in text} == written
    assert 'Scores are calibrated (temperature' in text
    assert text.count('\n  mmdensenet ') == 3 and 'no medical device' in text
    assert 'mmdensenet predict IMAGES --model model.onnx' in text and '--checklist claim' in text


def test_checklists_with_what_is_known(handed, run_tool):
    work, done, tmp_path, classes, _ = handed
    out = work.parent / 'claim.md'
    ran = run_tool('report.py', work / 'animals.py', work / 'best.pth', '--checklist', 'claim', '--out', out)
    assert ran.status == 0 and f'The checklist is in {out}' in ran.out
    text = out.read_text()
    card = done.files['model_card'].read_text()
    for number, words in (
        (22, 'parameters'),
        (28, 'AUROC'),
        (29, 'groups'),
        (24, 'Random'),
        (35, 'Test part: 24 images'),
    ):
        row = next(line for line in text.splitlines() if line.startswith(f'| {number} |'))
        assert words in row
    assert '| 44 | Funding, other support, and the role of funders | **author** |' in text
    for secret in (PATIENT, FOLDER, str(tmp_path)):
        assert secret not in text
    assert 'Where the images are from' in card and all(name in text for name in classes)
