"""tools/serve.py says what is wrong before it serves."""

import pytest

from mmdensenet.extras import install_command


@pytest.mark.parametrize(
    'arguments, says',
    [
        (['--port', '65536'], '--port 65536: give 1 to 65535'),
        (['--host', 'no.such.host.invalid', '--port', '0'], 'this is no address'),
        (['--host', '192.0.2.1', '--port', '0'], 'cannot be used'),
        (['--batch-size', '0', '--port', '0'], '--batch-size 0: give more than 0'),
        (['--max-wait', '-1', '--port', '0'], '--max-wait -1.0: give 0 or more'),
        (['--port', '0'], 'densenet999'),
    ],
)
def test_mistakes(run_tool, arguments, says):
    done = run_tool('serve.py', 'densenet999', *arguments)
    assert done.status == 2 and says in done.err and 'Traceback' not in done.err


def test_without_the_extra(run_tool, monkeypatch):
    import sys

    for name in [name for name in sys.modules if name.startswith('mmdensenet.serving')]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, 'fastapi', None)
    done = run_tool('serve.py', 'densenet121')
    assert done.status == 2 and f'the server needs fastapi. Run: {install_command("serve")}' in done.err
