"""Conversion of files: the tensors, the provenance in the file, and the tool's output."""

import json

import pytest
import torch
from foreign_models import CLASSES, logits_of, mmpretrain_model, ours, randomise
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from mmdensenet.convert import convert_checkpoint, convert_state_dict, read_checkpoint
from mmdensenet.convert.files import sha256, write
from mmdensenet.errors import UserError


def test_tool(check_tool, source, tmp_path):
    done = check_tool('convert_checkpoint.py', source, tmp_path / 'out' / 'ours.safetensors', '--verify')
    digest = sha256(source)
    for text in (
        str(source),
        digest,
        'torchvision, timm and torchxrayvision',
        'not known from the file',
        'blocks 2-3-2-1',
    ):
        assert text in done.out
    assert '0 left, 0 missing' in done.out and 'differ by at most' in done.out
    with safe_open(tmp_path / 'out' / 'ours.safetensors', 'pt') as file:
        meta = file.metadata()
    assert meta['sha256'] == digest and meta['source'] == 'theirs.pth' and meta['source_layout'] == 'torchvision'
    assert json.loads(meta['backbone'])['arch']['depths'] == [2, 3, 2, 1] and meta['num_classes'] == str(CLASSES)


def test_plain_state_dict(source, tmp_path):
    convert_checkpoint(str(source), str(tmp_path / 'ours.pth'))
    written = torch.load(tmp_path / 'ours.pth', weights_only=True)
    expected = convert_state_dict(torch.load(source, weights_only=True))[0]
    assert written['state_dict'].keys() == expected.keys()
    assert written['meta']['sha256'] == sha256(source) and written['meta']['num_classes'] == CLASSES


def test_tensors_that_share_memory(source, tmp_path):
    """safetensors has none; torch.save writes them once."""
    state, counter = torch.load(source, weights_only=True), torch.tensor(5)
    state = {key: counter if key.endswith('num_batches_tracked') else value for key, value in state.items()}
    torch.save(state, tmp_path / 'shared.pth')
    convert_checkpoint(str(tmp_path / 'shared.pth'), str(tmp_path / 'o.safetensors'))
    written, expected = read_checkpoint(str(tmp_path / 'o.safetensors'))['state_dict'], convert_state_dict(state)[0]
    assert written.keys() == expected.keys() and all(torch.equal(written[key], expected[key]) for key in expected)


def test_decisions_are_left_out_and_that_is_said(source, tmp_path):
    meta = dict(decisions=dict(format=1))
    torch.save(dict(state_dict=torch.load(source, weights_only=True), meta=meta), tmp_path / 'decided.pth')
    report = convert_checkpoint(str(tmp_path / 'decided.pth'), str(tmp_path / 'ours.pth'))
    assert any(note.startswith('its decisions (temperature, thresholds) are left out') for note in report.notes)
    assert 'decisions' not in torch.load(tmp_path / 'ours.pth', weights_only=True)['meta']


def test_written_files_convert_again(run_tool, source, tmp_path):
    """Also back to torchvision's layout, as the identity."""
    for first, second in (('a.safetensors', 'b.pth'), ('c.pth', 'd.safetensors')):
        convert_checkpoint(str(source), str(tmp_path / first))
        report = convert_checkpoint(str(tmp_path / first), str(tmp_path / second), to='torchvision')
        assert report.library in (None, 'mmdensenet')
        back, original = read_checkpoint(str(tmp_path / second))['state_dict'], torch.load(source, weights_only=True)
        assert set(back) == set(original) and all(torch.equal(back[key], original[key]) for key in back)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['gone.pth', 'o.pth'], 'gone.pth does not exist'),
        (['theirs.pth', 'o.h5'], 'o.h5: the name must end in'),
        (['theirs.pth', 'theirs.pth'], 'the source itself'),
        (['broken.safetensors', 'o.pth'], 'broken.safetensors is damaged'),
        (['tensor.pth', 'o.pth'], 'holds a Tensor'),
        (['incomplete.pth', 'o.pth'], '--partial'),
        (['theirs.pth', 'o.pth', '--in-channels', '0'], '--in-channels 0'),
        (['theirs.pth', 'o.pth', '--prefix', 'x.'], 'no DenseNet weights'),
        (['incomplete.pth', 'o.pth', '--partial', '--verify'], '--verify needs'),
    ],
)
def test_mistakes(run_tool, source, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'broken.safetensors').write_bytes(b'no')
    torch.save(torch.zeros(3), 'tensor.pth')
    state = torch.load(source, weights_only=True)
    del state['features.norm5.bias']
    torch.save(state, 'incomplete.pth')
    done = run_tool('convert_checkpoint.py', *arguments)
    assert done.status == 2 and message in done.err, done.err
    assert len(done.err.strip().splitlines()) <= 2


def test_partial_channels_and_classes(check_tool, source, tmp_path):
    state = torch.load(source, weights_only=True)
    del state['features.norm5.bias']
    save_file({key: value.contiguous() for key, value in state.items()}, tmp_path / 'i.safetensors')
    arguments = ['--partial', '--in-channels', '1', '--num-classes', '2']
    done = check_tool('convert_checkpoint.py', tmp_path / 'i.safetensors', tmp_path / 'o.pth', *arguments)
    for text in ('1 missing', 'transitions.3.0.bias', 'adapted from 3 to 1', 'for 7 classes, not 2'):
        assert text in done.out
    written = torch.load(tmp_path / 'o.pth', weights_only=True)
    assert written['state_dict']['backbone.stem.0.weight'].shape[1] == 1
    assert written['meta']['backbone']['in_channels'] == 1
    assert 'head.fc.weight' not in written['state_dict']


def test_mmpretrains_checkpoint(tmp_path):
    """As mmpretrain writes it, with pickled history and config text."""
    theirs = randomise(mmpretrain_model())
    meta = dict(mmpretrain_version='1.2.0', cfg="open('RAN', 'w')")
    torch.save(dict(meta=meta, state_dict=theirs.state_dict()), tmp_path / 'mm.pth')
    report = convert_checkpoint(str(tmp_path / 'mm.pth'), str(tmp_path / 'o.safetensors'))
    assert report.library == 'mmpretrain'
    images = torch.randn(2, 3, 64, 64)
    mine = ours(report, read_checkpoint(str(tmp_path / 'o.safetensors'))['state_dict'])
    assert (mine(images) - logits_of(theirs, images)).abs().max() < 1e-4


def test_download(source, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    report = convert_checkpoint(source.as_uri(), str(tmp_path / 'o.pth'))
    assert report.sha256 == sha256(source) and report.source == source.as_uri()


def test_safetensors_that_cannot_be_written(tmp_path, monkeypatch):
    def fail(*_):
        raise SafetensorError('I/O error: File too large')

    monkeypatch.setattr('safetensors.torch.save_file', fail)
    with pytest.raises(UserError, match=r'cannot write .*a\.safetensors: I/O error: File too large\. Make room'):
        write({}, str(tmp_path / 'a.safetensors'), {})
    assert not list(tmp_path.iterdir())
