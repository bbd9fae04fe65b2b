"""tools/convert_checkpoint.py, its report and its refusals."""

import os

import torch
from foreign_models import (
    torchvision_model,
)


class Hostile:
    def __reduce__(self):
        return os.system, ('touch RAN',)


def test_files_that_could_run_code_are_refused(run_tool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(dict(state_dict=Hostile()), 'hostile.pth')
    torch.save(torchvision_model(), 'whole.pt')  # as torchxrayvision publishes its models
    for file, message in (('hostile.pth', 'could run code'), ('whole.pt', 'holds Python objects')):
        done = run_tool('convert_checkpoint.py', file, 'out.pth')
        assert done.status == 2 and message in done.err and 'state dict' in done.err
    assert not os.path.exists('RAN') and not os.path.exists('out.pth')
