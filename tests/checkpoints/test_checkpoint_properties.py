"""Properties of the checkpoint reader for any content and any bytes; `make fuzz` tries 100,000 mutated files."""

import math
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from mmengine.logging import HistoryBuffer

from mmdensenet.checkpoints.checkpoint import load_from_file
from mmdensenet.checkpoints.checkpoint_file import inspect_file, what_is_wrong
from mmdensenet.checkpoints.writing import save_whole, to_plain
from mmdensenet.errors import UserError

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool]
shapes = st.lists(st.integers(0, 4), max_size=4)
tensors = st.builds(
    lambda shape, dtype, seed: make_tensor(shape, dtype, seed), shapes, st.sampled_from(DTYPES), st.integers(0, 99)
)
leaves = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text() | tensors
keys = st.text() | st.integers(-100, 100)
contents = st.recursive(
    leaves, lambda inner: st.lists(inner) | st.dictionaries(keys, inner) | st.tuples(inner, inner), max_leaves=20
)
fast = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def make_tensor(shape, dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    made = torch.randint(0, 2, shape, generator=generator) if dtype == torch.bool else None
    return (made if made is not None else torch.randn(shape, generator=generator) * 10).to(dtype)


def same(a, b):
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(same(x, y) for x, y in zip(a, b))
    if isinstance(a, float) and math.isnan(a):
        return isinstance(b, float) and math.isnan(b)
    return type(a) is type(b) and a == b


@fast
@given(content=contents)
def test_what_is_written_is_read(tmp_path, content):
    file = tmp_path / 'c.pth'
    save_whole(dict(content=content), str(file))
    assert what_is_wrong(file) is None and not inspect_file(file).resumable
    assert same(load_from_file(str(file))['content'], content)
    assert same(torch.load(file, weights_only=True)['content'], content)


@fast
@given(values=st.lists(st.floats(allow_nan=False, width=32)), data=st.data())
def test_mmengines_objects_are_rebuilt(tmp_path, values, data):
    history = HistoryBuffer(values, [1] * len(values))
    dtype = data.draw(st.sampled_from(['f4', 'f8', 'i8', 'u1', '>i2', '?']))
    array = np.asarray(data.draw(st.lists(st.integers(0, 1), max_size=6))).astype(dtype)
    torch.save(dict(history=history, array=array), tmp_path / 'theirs.pth')
    loaded = load_from_file(str(tmp_path / 'theirs.pth'))
    assert loaded['history'].data[0].tolist() == values
    assert loaded['array'].dtype == array.dtype and (loaded['array'] == array).all()
    once = to_plain(loaded)
    assert same(to_plain(once), once)


@fast
@given(content=st.binary(max_size=300))
@example(b'PK\x03\x04')
@example(b'PK\x05\x06' + bytes(18))
@example(b'\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.')
def test_any_bytes_are_refused_in_one_line(tmp_path, content):
    file = tmp_path / 'any.pth'
    file.write_bytes(content)
    assert what_is_wrong(file)
    with pytest.raises(UserError, match=r'any\.pth') as refusal:
        load_from_file(str(file))
    assert '\n' not in str(refusal.value)


def test_bytes_become_tensors():
    assert same(to_plain([b'ab', bytearray()]), [torch.tensor([97, 98], dtype=torch.uint8), torch.zeros(0).byte()])


@pytest.mark.slow
def test_a_short_fuzz(run_command):
    done = run_command(sys.executable, ROOT / 'tests/scripts/fuzz_checkpoint.py', '--inputs', '5000')
    assert done.status == 0, done.out + done.err
