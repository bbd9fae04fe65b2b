"""tools/predict.py answers at once; tests/apis/test_inference.py has what it predicts."""

import pytest


@pytest.mark.parametrize('tool', ['predict.py', 'convert_checkpoint.py', 'export.py'])
def test_help_answers_without_importing_what_is_heavy(run_command, tool):
    import sys

    from conftest import TOOLS

    done = run_command(sys.executable, '-X', 'importtime', TOOLS / tool, '--help')
    assert done.status == 0 and '--debug' in done.out
    assert ' torch' not in done.err and 'mmengine' not in done.err
