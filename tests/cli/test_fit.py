import sys

import pytest

from mmdensenet.errors import UserError
from mmdensenet_cli import fit
from mmdensenet_cli.start import make_parser


def test_options_become_arguments(monkeypatch, capsys):
    import mmdensenet.apis.fit as api

    given = {}

    def record(data, **options):
        given.update(options, data=data)
        options['report']('1. Look')

    monkeypatch.setattr(api, 'fit', record)
    arguments = 'DATA --images ROOT --labels a,b --subgroups sex,age --minutes 2.5 --uncertain ignore --allow-leak'
    arguments += ' --network rdnet-tiny'
    fit.run(make_parser(fit).parse_args(arguments.split()))
    assert capsys.readouterr().out == '1. Look\n', 'the steps alone are on standard output'
    expected = dict(data='DATA', images='ROOT', labels=['a', 'b'], subgroups=['sex', 'age'], minutes=2.5)
    assert {key: given[key] for key in expected} == expected
    assert given['network'] == 'rdnet-tiny'
    assert (given['uncertain'], given['missing'], given['allow_leak'], given['dry_run']) == (
        'ignore',
        None,
        True,
        False,
    )


@pytest.mark.parametrize(('answer', 'policy'), [('ignore', 'ignore'), ('n', 'negative'), ('P\n', 'positive')])
def test_a_question_is_asked_on_a_terminal_and_an_error_elsewhere(answer, policy, monkeypatch, capsys):
    choices = ('positive', 'negative', 'ignore')
    with pytest.raises(UserError, match=r'What\? Say it: missing=positive, or negative, ignore\.'):
        fit.ask('What?', 'missing', choices)

    class Terminal:
        def __init__(self, text):
            self.text = text

        def isatty(self):
            return True

        def readline(self):
            return self.text

    monkeypatch.setattr(sys, 'stdin', Terminal(answer))
    monkeypatch.setattr(sys.stderr, 'isatty', lambda: True, raising=False)
    assert fit.ask('What?', 'missing', choices) == policy
    assert 'What? (positive, negative, ignore)' in capsys.readouterr().err
    monkeypatch.setattr(sys, 'stdin', Terminal(''))
    with pytest.raises(UserError, match='Say it'):
        fit.ask('What?', 'missing', choices)


def test_networks_are_completed():
    names = fit.complete_network('')
    assert {'densenet121', 'densenet264', 'densenetblur121d', 'densenet-bc-l40-k12', 'rdnet-tiny'} <= set(names)
    assert not any('_' in name for name in names)
