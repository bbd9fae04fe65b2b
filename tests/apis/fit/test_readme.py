"""What README.txt says of the files that are there, and the next commands."""

import pytest

from mmdensenet.apis.fit.readme import inside, write_readme
from mmdensenet.results.decisions import UNCALIBRATED


@pytest.mark.parametrize('models', [None, 3])
def test_each_file_has_its_line_and_commands_name_what_is_there(tmp_path, models):
    for name in ('config.py', 'look.json', 'samples.json', 'judge.json', 'scores.npz', 'model.onnx'):
        (tmp_path / name).touch()
    (tmp_path / 'training').mkdir()
    write_readme(tmp_path, tmp_path / 'config.py', tmp_path / 'training/best.pth', None, models)
    text = (tmp_path / 'README.txt').read_text(encoding='utf-8')
    lines = text.splitlines()
    assert '  judge.json and 2 more like it' in lines and UNCALIBRATED in lines
    assert 'report.html' not in text and '  training' in lines
    assert ('the ensemble: the mean of the probabilities of 3 models' in text) == (models == 3)
    assert lines[-3:-1] == ['  mmdensenet predict IMAGES --model model.onnx', '  mmdensenet serve model.onnx']
    report = '  mmdensenet report config.py training/best.pth'
    assert lines[-1] == report + (' --out first_model.html' if models else ' --checklist claim')


def test_without_an_onnx_file_the_checkpoint_is_named(tmp_path):
    write_readme(tmp_path, tmp_path / 'c.py', tmp_path / 'best.pth', None)
    text = (tmp_path / 'README.txt').read_text(encoding='utf-8')
    assert '  mmdensenet predict IMAGES --model c.py --checkpoint best.pth\n' in text


def test_a_path_of_another_place_is_its_name(tmp_path):
    assert inside(tmp_path, tmp_path / 'a/b.pth') == 'a/b.pth'
    assert inside(tmp_path / 'x', tmp_path / 'a/b.pth') == 'b.pth'
