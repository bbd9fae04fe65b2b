"""The last steps are done again for what is new."""

import csv
from types import SimpleNamespace

import numpy as np
import own_images
import pytest
from made_scores import halves, single

from mmdensenet.apis.fit import last_steps
from mmdensenet.apis.fit.hand_over import Handed
from mmdensenet.apis.fit.image_names import named_images
from mmdensenet.apis.fit.work_folder import WorkFolder


def test_handing_over_is_done_again_for_other_images_and_another_judgement(tmp_path, monkeypatch):
    work, calls, lines = WorkFolder(tmp_path / 'work'), [], []
    for name in ('model.pth', 'test.npz', 'judgement.json'):
        (work / name).write_text(name)
    page = work / 'report.html'
    handed = Handed(dict(web_page=page))
    monkeypatch.setattr(last_steps, 'hand_over', lambda *args, **kwargs: calls.append(kwargs['predict']) or handed)
    model = last_steps.Model('split', work / 'model.pth', None, None)
    folder = tmp_path / 'new'
    own_images.write(folder / '1.png', np.zeros((2, 2), np.uint8))

    def again() -> int:
        page.touch()
        found = last_steps.hand_over_step(work, model, None, named_images(folder, None), lines.append)
        assert found == dict(web_page=str(page)) and lines[-1] == f'  web page: {page}'
        return len(calls)

    assert (again(), again()) == (1, 1)
    assert lines[-2] == '  as before'
    own_images.write(folder / '2.png', np.zeros((2, 2), np.uint8))
    assert (again(), again()) == (2, 2)
    assert calls[-1].pairs == [(name, str(folder / name)) for name in ('1.png', '2.png')]
    (work / 'judgement.json').write_text('by sex')
    assert (again(), again()) == (3, 3)
    # a call without images to predict keeps their predictions of this model, and those of another are set aside
    (work / 'submission.csv').write_text('of this model')
    assert last_steps.hand_over_step(work, model, None, None, lines.append) and lines[-2] == '  as before'
    (work / 'model.pth').write_text('another')
    assert last_steps.hand_over_step(work, model, None, None, lines.append) and len(calls) == 4
    assert '  the predictions of an earlier model are now in submission_before1.csv' in lines
    assert (work / 'submission_before1.csv').read_text() == 'of this model' and not (work / 'submission.csv').exists()


def test_handing_over_that_is_interrupted_is_done_again_with_the_options_of_before(tmp_path, monkeypatch):
    work, titles = WorkFolder(tmp_path), []
    for name in ('model.pth', 'test.npz', 'judgement.json'):
        (work / name).write_text(name)

    def hand_over(*args, title, **kwargs):
        titles.append(title)
        (work / 'report.html').write_text(title)
        if title == 'two':
            raise KeyboardInterrupt
        return Handed(dict(report=work / 'report.html'))

    monkeypatch.setattr(last_steps, 'hand_over', hand_over)
    model = last_steps.Model('split', work / 'model.pth', None, None)
    last_steps.hand_over_step(work, model, None, None, print, title='one')
    with pytest.raises(KeyboardInterrupt):
        last_steps.hand_over_step(work, model, None, None, print, title='two')
    last_steps.hand_over_step(work, model, None, None, print, title='one')
    assert titles == ['one', 'two', 'one'] and (work / 'report.html').read_text() == 'one'


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A work directory of two folds: 300 images of 150 patients, every other one held out by the second model."""
    work, scores = WorkFolder(tmp_path / 'work'), single(600, 2, factor=2)
    validation, test = halves(scores)
    with (work / 'samples.csv').open('w', newline='') as out:
        rows = csv.writer(out)
        rows.writerow(['image', 'group', 'sex', 'split', 'fold_1', 'fold_2'])
        for i in range(600):
            split, fold = ('test' if i % 2 else 'train'), i % 4
            folds = ['test' if fold == 1 else 'train', 'test' if fold == 3 else 'train']
            rows.writerow([f'{i}.png', f'patient {i // 4}', 'fm'[i // 4 % 2], split, *folds])

    def kept(folder, name, config, checkpoint, part, options, without):
        of, _, number = name.partition('_fold_')
        assert (folder, config, part) == (work, work / 'config.py', 'val' if of == 'validation' else 'test')
        (work / f'{name}.npz').write_text(f'scores of {checkpoint.read_text()}')
        if name == 'validation':
            return validation
        second = number == ('1' if of == 'validation' else '2')  # each model's epoch is chosen by the other fold
        return test if name == 'test' else test.take(np.arange(150) + 150 * second)

    test.index = np.arange(300)
    test.index[150:] -= 150  # in their own part of the folds
    monkeypatch.setattr(last_steps, 'kept_scores', kept)
    monkeypatch.setattr(last_steps, 'open_config', lambda config: None)
    monkeypatch.setattr(last_steps, 'get_model', lambda config, file: SimpleNamespace(state_dict=dict))
    monkeypatch.setattr(last_steps, 'hash_weights', lambda weights: 64 * '0')
    monkeypatch.setattr(last_steps, 'write_meta', lambda file, key, value, out: out.write_bytes(file.read_bytes()))
    for name in ('trained', 'other'):
        (work / f'{name}.pth').write_text(name)
    return SimpleNamespace(folder=work, trained=work / 'trained.pth', other=work / 'other.pth', test=test)


def test_rows_and_groups_of_scored_images(work):
    """Of a part's images, in the order of their scores: the rows of the table, and whose images they are."""
    scores = work.test.take([3, 0, 1])
    assert last_steps.rows_of(work.folder, last_steps.Model('split', None, test=scores)).tolist() == [7, 1, 3]
    assert last_steps.rows_of(work.folder, last_steps.Model('fold_2', None, test=scores)).tolist() == [15, 3, 7]
    assert last_steps._groups(work.folder, np.array([7, 1, 3])).tolist() == [1, 0, 0]
    assert last_steps._groups(work.folder, np.array([0, 8, 4])) is None


def test_decisions_are_made_once_and_again_for_what_is_new(work, monkeypatch):
    made, lines = [], []
    decide = last_steps.decide
    monkeypatch.setattr(last_steps, 'decide', lambda *args, **kwargs: made.append(kwargs) or decide(*args, **kwargs))

    def again(point=None):
        lines.clear()
        return last_steps.decide_step(work.folder, 'split', work.trained, {}, point, lines.append)

    first = again()
    assert first.checkpoint.read_text() == 'trained' and made == [
        dict(operating_point=None, weights=64 * '0', prepared=('not normalised',))
    ]
    assert lines == [f'  {line}' for line in first.decisions.lines()]
    assert again().decisions.to_dict() == first.decisions.to_dict() and len(made) == 1
    first.checkpoint.unlink()
    again()
    assert first.checkpoint.is_file() and len(made) == 2, 'its checkpoint was gone'
    other = again('sensitivity=0.9')
    assert '  changed since the last call: operating_point: None -> sensitivity=0.9' in lines and len(made) == 3
    assert other.decisions.to_dict() != first.decisions.to_dict()
    work.trained.write_text('longer')
    again('sensitivity=0.9')
    assert '  changed since the last call: trained' in lines and len(made) == 4


def test_judged_by_patient_and_subgroup(work, monkeypatch):
    lines = []
    monkeypatch.setattr(last_steps, 'MOST_LINES', 5)
    work.test.index = np.arange(300)
    model = last_steps.decide_step(work.folder, 'split', work.trained, {}, None, lines.append)
    lines.clear()
    found = last_steps.judge_step(work.folder, model, {}, ['sex'], lines.append)
    assert (found.images, found.groups) == (300, 150)
    assert [(part.value, part.images) for part in found.subgroups] == [('f', 150), ('m', 150)]
    right = model.decisions.apply_to(work.test).positive[np.arange(300), work.test.truth]
    assert found.subgroups[1].overall['accuracy'].value == right[np.arange(300) // 2 % 2 == 1].mean()
    told = [line for line in found.lines() if not line.startswith('Left out: ')]
    assert len(told) > 5
    assert lines == [f'  {line}' for line in told[:5]] + [
        f'  {len(told) - 5} lines more in {work.folder / "judgement.json"}'
    ]
    again = last_steps.judge_step(work.folder, model, {}, ['sex'], lines.append)
    assert again.to_dict() == found.to_dict()
    lines.clear()
    assert not last_steps.judge_step(work.folder, model, {}, [], lines.append).subgroups
    assert "  changed since the last call: subgroups: ['sex'] -> []" in lines
    # the same column with other values, and patients that are others
    table = work.folder / 'samples.csv'
    table.write_text(table.read_text().replace(',f,', ',m,', 1).replace(',m,', ',f,'))
    found = last_steps.judge_step(work.folder, model, {}, ['sex'], lines.append)
    assert [part.value for part in found.subgroups] == ['f']
    table.write_text(table.read_text().replace('patient 1,', 'patient 0,'))
    assert last_steps.judge_step(work.folder, model, {}, ['sex'], lines.append).groups == 149


def test_folds_are_judged_together(work):
    """Each image by the model that has not seen it, with its own patient."""
    lines, files = [], [work.trained, work.other]
    folds = work.folder, ['fold_1', 'fold_2'], files, [{}, {}], None
    models, ensemble = last_steps.decide_folds_step(*folds, lines.append)
    assert [model.column for model in models] == ['fold_1', 'fold_2']
    [temperature] = ensemble.temperatures
    assert lines[0] == f'  temperature of the 2 models: {temperature:.3g}'
    assert lines[1:] == [f'  {line}' for line in ensemble.decisions.lines()]
    found, kept = last_steps.judge_folds_step(work.folder, models, ensemble, None, ['sex'], lines.append)
    assert (found.images, found.groups, kept.ensemble) == (300, 150, ensemble)
    order = np.argsort(kept.found.scores.index)
    assert kept.found.scores.index[order].tolist() == list(range(1, 600, 2))
    assert (
        kept.found.scores.groups[order].tolist()
        == np.unique([f'patient {i // 4}' for i in range(1, 600, 2)], return_inverse=True)[1].tolist()
    )
    assert [(part.value, part.images) for part in found.subgroups] == [('f', 150), ('m', 150)]
    assert kept.found.decided.ood.shape == (300,) and ensemble.decisions.ood_threshold is not None
    again = last_steps.decide_folds_step(*folds, lines.append)[1]
    assert again.decisions.to_dict() == ensemble.decisions.to_dict() and again.temperatures == ensemble.temperatures
    lines.clear()
    last_steps.decide_folds_step(*folds[:-1], 'sensitivity=0.9', lines.append)
    assert lines[0] == '  changed since the last call: operating_point: None -> sensitivity=0.9'
