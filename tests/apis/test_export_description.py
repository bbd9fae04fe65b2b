import torch
from conftest import DIGITS

import mmdensenet
from mmdensenet.apis.export_description import describe
from mmdensenet.checkpoints.checkpoint_file import sha256


def test_a_grey_model(tmp_path):
    model = mmdensenet.get_model(str(DIGITS))
    file = tmp_path / 'w.pth'
    torch.save(dict(state_dict=model.state_dict()), file)
    first = torch.zeros(1, 8, 9)
    found = describe(model._config, model, str(file), first, 4, with_preprocess=False, any_size=False, int8=True)
    assert (found.model, found.checkpoint, found.sha256) == (DIGITS.stem, 'w.pth', sha256(file))
    assert (found.channels, found.size, found.order, found.batch) == (1, [8, 9], 'grey', 4)
    assert found.num_classes == 10 and found.int8 and not found.multi_label and found.threshold is None
    assert len(found.mean) == len(found.std) == 1


def test_a_checkpoint_that_is_not_here_has_no_hash():
    model = mmdensenet.get_model(str(DIGITS))
    options = dict(with_preprocess=False, any_size=False, int8=False)
    found = describe(model._config, model, 'https://example.org/w.pth', torch.zeros(1, 8, 8), None, **options)
    assert found.checkpoint == 'w.pth' and found.sha256 == '' and found.batch is None
