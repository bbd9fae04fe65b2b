"""tools/complexity.py prints what the model costs."""

import json

import pytest
from conftest import CONFIGS, DIGITS
from small_costs import ROWS

from mmdensenet.apis.complexity import complexity


def test_tool(check_tool):
    done = check_tool('complexity.py', 'mmdensenet::densenet-bc-l40-k12_1xb64_cifar10.py', '--no-measure', '--json')
    found = json.loads(done.out)
    row = ROWS['densenet-bc-l40-k12_1xb64_cifar10']['Metadata']
    assert (found['parameters'], found['multiply_adds']['reference']) == (row['Parameters'], row['Multiply-Adds'])
    assert found['batch'] == 64
    for engine in ('reference', 'fused'):
        step = found['memory'][engine]['predicted']
        assert step['batch_bytes'] == pytest.approx(step['constant_bytes'] + 64 * step['bytes_per_image'])


def test_table(run_tool, check_tool):
    found = complexity(str(DIGITS), batch=7, available=1e9, measure=False, device='cpu')
    done = check_tool('complexity.py', DIGITS, '--no-measure', '--memory', '1GB', '--batch', '7', '--device', 'cpu')
    assert f'{ROWS[DIGITS.stem]["Metadata"]["Multiply-Adds"]:,}' in done.out
    for engine in ('reference', 'fused'):
        step = found['memory'][engine]['predicted']
        fits = int((0.8e9 - step['constant_bytes']) / step['bytes_per_image'])
        assert fits == step['largest_batch']
        assert f'{fits:,}' in done.out
    assert 'error: ' in run_tool('complexity.py', CONFIGS / 'nothing.py').err
