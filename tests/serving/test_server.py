"""Sockets, and what is said before requests are answered."""

import socket


def test_a_port_that_is_taken(run_tool):
    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = taken.getsockname()[1]
        done = run_tool('serve.py', 'densenet121', '--port', port)
    assert done.status == 2 and f'--port {port} cannot be used' in done.err and '--port 0' in done.err


def test_serving_others_is_warned_about(run_tool, model_files, monkeypatch):
    import uvicorn

    served = []
    monkeypatch.setattr(uvicorn.Server, 'run', lambda self, sockets: served.append(self.config.app))
    config, checkpoint = model_files
    options = [config, '--checkpoint', checkpoint, '--port', '0']
    done = run_tool('serve.py', *options, '--host', '0.0.0.0')
    assert done.status == 0 and 'there is no authentication' in done.err, done.err
    done = run_tool('serve.py', *options)
    assert done.status == 0 and 'authentication' not in done.err
    assert 'Serving tiny at http://127.0.0.1:' in done.out
    open_app, local_app = served
    assert open_app.state.service.settings.any_address and not local_app.state.service.settings.any_address


def test_weights_that_are_not_finite_are_said(run_tool, model_files, monkeypatch, tmp_path, caplog):
    import torch
    import uvicorn

    monkeypatch.setattr(uvicorn.Server, 'run', lambda self, sockets: None)
    config, checkpoint = model_files
    content = torch.load(checkpoint)
    content['state_dict']['head.fc.bias'][1] = float('nan')
    torch.save(content, tmp_path / 'nan.pth')
    run_tool('serve.py', config, '--checkpoint', tmp_path / 'nan.pth', '--port', '0')
    assert [message for message in caplog.messages if 'finite' in message] == [
        f'{tmp_path}/nan.pth: 1 tensor has values that are not finite (NaN or infinity), the first head.fc.bias.'
    ]
    caplog.clear()
    run_tool('serve.py', config, '--checkpoint', checkpoint, '--port', '0')
    assert not [message for message in caplog.messages if 'finite' in message]
