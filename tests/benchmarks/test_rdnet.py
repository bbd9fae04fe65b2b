"""The candidates are one model, and a run gives a row for each of them."""

import sys

import pytest
import torch
from helpers import read_csv

from benchmarks import rdnet
from benchmarks.measure import UnavailableError


@pytest.mark.parametrize('arch', rdnet.CHANNELS)
def test_parameter_counts_are_equal(arch):
    counts = set()
    with torch.device('meta'):
        for candidate in rdnet.CANDIDATES.values():
            try:
                model = rdnet.build(candidate, arch, 0.1)
            except UnavailableError as reason:
                pytest.skip(str(reason))
            counts.add(sum(parameter.numel() for parameter in model.parameters()))
    assert len(counts) == 1


def test_rows_and_table(monkeypatch, tmp_path, capsys):
    ours = {name: c for name, c in rdnet.CANDIDATES.items() if c.ours and 'memory' in name}
    monkeypatch.setattr(rdnet, 'CANDIDATES', {rdnet.BASELINE: rdnet.Candidate(), **ours})
    file = tmp_path / 'rows.csv'
    arguments = ['--batch', '1', '--size', '32', '--rounds', '1', '--turn-seconds', '0', '--mode', 'train']
    monkeypatch.setattr(sys, 'argv', ['rdnet', *arguments, '--one-process', '--csv', str(file)])
    rdnet.main()
    rows = read_csv(file)
    assert [row['candidate'] for row in rows] == [rdnet.BASELINE, *ours]
    assert all(float(row['seconds_median']) > 0 and row['parameters'] == '23863008' for row in rows)
    assert '1.00' in capsys.readouterr().out
