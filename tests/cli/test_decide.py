"""The options of `decide` become arguments, and what is decided is printed."""

from types import SimpleNamespace

from mmdensenet_cli import decide
from mmdensenet_cli.start import make_parser


def test_options_become_arguments(monkeypatch, capsys):
    from mmdensenet.apis import decide_checkpoint as api

    given = {}

    def record(**options):
        given.update(options)
        return SimpleNamespace(lines=lambda: ['coverage 80 %'])

    monkeypatch.setattr(api, 'decide_checkpoint', record)
    options = '--out d.pth --operating-point f1 --coverage 0.8 --cfg-options val_dataloader.batch_size=8'
    decide.run(make_parser(decide).parse_args(['c.py', 'w.pth', *options.split()]))
    assert given == dict(
        config='c.py',
        checkpoint='w.pth',
        out='d.pth',
        operating_point='f1',
        coverage=0.8,
        cfg_options={'val_dataloader.batch_size': 8},
    )
    assert capsys.readouterr().out == 'coverage 80 %\nThe decisions are in d.pth\n'
