"""The last steps are done again for what is new."""

import numpy as np
import own_images

from mmdensenet.apis.fit import last_steps
from mmdensenet.apis.fit.hand_over import Handed
from mmdensenet.apis.fit.image_names import named_images
from mmdensenet.apis.fit.work_folder import WorkFolder


def test_handing_over_is_done_again_for_other_images_and_another_judgement(tmp_path, monkeypatch):
    work, calls = WorkFolder(tmp_path / 'work'), []
    for name in ('model.pth', 'test.npz', 'judgement.json'):
        (work / name).write_text(name)
    monkeypatch.setattr(last_steps, 'hand_over', lambda *args, **kwargs: calls.append(kwargs['predict']) or Handed())
    model = last_steps.Model('split', work / 'model.pth', None, None)
    folder = tmp_path / 'new'
    own_images.write(folder / '1.png', np.zeros((2, 2), np.uint8))

    def again() -> int:
        last_steps.hand_over_step(work, model, None, named_images(folder, None), lambda line: None)
        return len(calls)

    assert (again(), again()) == (1, 1)
    own_images.write(folder / '2.png', np.zeros((2, 2), np.uint8))
    assert (again(), again()) == (2, 2)
    assert calls[-1].pairs == [(name, str(folder / name)) for name in ('1.png', '2.png')]
    (work / 'judgement.json').write_text('by sex')
    assert again() == 3
