"""mmdensenet.checkpoints.checkpoint_meta: an entry added to a checkpoint, and the hash of weights."""

import pytest
import torch

from mmdensenet.checkpoints.checkpoint_file import inspect_file, what_is_wrong
from mmdensenet.checkpoints.checkpoint_meta import hash_weights, write_meta
from mmdensenet.checkpoints.writing import save_whole
from mmdensenet.errors import UserError

WEIGHTS = {'a.weight': torch.arange(24.0).reshape(1, 2, 3, 4), 'b': torch.tensor(0.5), 'count': torch.tensor(3)}


def test_an_entry_is_added_and_all_else_stays(tmp_path):
    file = tmp_path / 'epoch_3.pth'
    meta = dict(epoch=3, cfg='text = 1', run_id='0123456789abcdef')
    save_whole(dict(meta=meta, state_dict=WEIGHTS, optimizer=dict(state={}, param_groups=[])), str(file))
    before = inspect_file(file)
    write_meta(file, 'decisions', dict(classes=['a'], threshold=0.25))
    after = inspect_file(file)
    assert (after.run, after.resumable, after.time_ns) == ('0123456789abcdef', True, before.time_ns)
    assert what_is_wrong(file) is None and after.sha256 != before.sha256
    read = torch.load(file, weights_only=True)  # without mmdensenet's reader
    assert read['meta'] == {**meta, 'decisions': dict(classes=['a'], threshold=0.25)}
    assert hash_weights(read['state_dict']) == hash_weights(WEIGHTS) and read['optimizer']['state'] == {}


def test_tensors_alone_become_a_checkpoint_in_another_file(tmp_path):
    file, out = tmp_path / 'weights.pth', tmp_path / 'decided.pth'
    torch.save(WEIGHTS, file)
    content = file.read_bytes()
    write_meta(file, 'decisions', {}, out)
    assert file.read_bytes() == content
    read = torch.load(out, weights_only=True)
    assert read['meta'] == {'decisions': {}} and set(read['state_dict']) == set(WEIGHTS)
    assert not inspect_file(out).resumable


@pytest.mark.parametrize('file', ['https://host/weights.pth', 'weights.safetensors'])
def test_files_that_cannot_be_written(file):
    with pytest.raises(UserError, match=f'{file} cannot be written: give out=FILE.pth'):
        write_meta(file, 'decisions', {})


def test_the_hash_is_that_of_the_values():
    same = {name: WEIGHTS[name].clone() for name in reversed(WEIGHTS)}
    same['a.weight'] = same['a.weight'].contiguous(memory_format=torch.channels_last)
    same['count'] = torch.tensor(7)
    assert hash_weights(same) == hash_weights(WEIGHTS)
    for name, change in [('a.weight', -1), ('b', torch.tensor(0.6)), ('c', torch.zeros(1))]:
        other = dict(WEIGHTS)
        other[name] = -other[name] if isinstance(change, int) else change
        assert hash_weights(other) != hash_weights(WEIGHTS), name
    assert hash_weights({**WEIGHTS, 'b': WEIGHTS['b'].double()}) != hash_weights(WEIGHTS)
