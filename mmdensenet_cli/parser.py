"""A parser whose errors name a replacement for an unknown option."""

import argparse
import difflib
import sys
from collections.abc import Iterator, Mapping, Sequence


class Parser(argparse.ArgumentParser):
    """argparse's parser, with a hint for unknown options."""

    #: unknown option -> the config's key to set with ``--cfg-options``
    config_keys: Mapping[str, str] = {}
    #: unknown option -> a line that says what to do
    instead: Mapping[str, str] = {}
    _given: Sequence[str] = ()

    def parse_known_args(self, args=None, namespace=None):
        self._given = list(sys.argv[1:] if args is None else args)
        return super().parse_known_args(args, namespace)

    def error(self, message):
        super().error('\n'.join([message, *self._missing(message), *self._hints()]))

    def _missing(self, message: str) -> Iterator[str]:
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction) and message.endswith(f'are required: {action.metavar}'):
                yield f'{action.metavar} is one of {", ".join(action.choices)}.'

    def _hints(self) -> Iterator[str]:
        parsers = [self, *self._chosen()]
        known = sorted({option for parser in parsers for option in options(parser)})
        keys = {option: key for parser in parsers for option, key in parser.config_keys.items()}
        instead = {option: text for parser in parsers for option, text in parser.instead.items()}
        positional = {
            action.dest: action for parser in parsers for action in parser._actions if not action.option_strings
        }
        settings = []
        for place, argument in enumerate(self._given):
            name, equals, value = argument.partition('=')
            if not name.startswith('--') or name == '--' or any(option.startswith(name) for option in known):
                continue  # argparse takes the beginning of an option for it
            own = next((option for option in known if name.startswith(f'{option}-')), None)
            if own is None and name in keys:
                following = self._given[place + 1 : place + 2]
                if not equals:
                    value = following[0] if following and not following[0].startswith('--') else 'VALUE'
                settings.append(f'{keys[name]}={value}')
            elif name in instead:
                yield instead[name]
            elif name[2:] in positional:
                yield f'Give {positional[name[2:]].metavar or name[2:]} without {name}.'
            elif close := [own] if own else difflib.get_close_matches(name, known, n=1, cutoff=0.7):
                yield f'Did you mean {close[0]} instead of {name}?'
        if settings:
            yield f'That is in the config: --cfg-options {" ".join(settings)}'

    def _chosen(self) -> Iterator['Parser']:
        """Yield the parsers of the given sub-command."""
        for action in self._actions:
            for name, child in action.choices.items() if isinstance(action, argparse._SubParsersAction) else ():
                if name in self._given:
                    yield child


def options(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Return the options of a parser and of its sub-commands."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from options(child)
        yield from action.option_strings
