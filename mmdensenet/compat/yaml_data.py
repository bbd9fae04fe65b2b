"""Read YAML as data; refuse numbers that YAML 1.1 and 1.2 read differently, and keys that occur twice."""

import re

import yaml

#: a number that YAML 1.1 takes for text, as its floats need a point and a signed exponent
_EXPONENT = re.compile(r'[-+]?(?:\d+\.?\d*|\.\d+)[eE][-+]?\d+$')
_OCTAL = re.compile(r'[-+]?0[0-7_]+')


class DataLoader(getattr(yaml, 'CSafeLoader', yaml.SafeLoader)):
    """PyYAML's safe loader, with the tuples of a config that mmengine wrote.

    PyYAML reads YAML 1.1. Where today's YAML 1.2 means something else by a number (010 is 8 there, 1:30 is 90), it is
    refused; 1e-3 is the number that it is in 1.2 and in JSON. A key that stands twice in a mapping, which
    both forbid, is refused too.
    """

    def __init__(self, stream):
        super().__init__(stream)
        self._known: set[int] = set()

    def flatten_mapping(self, node) -> None:
        """Refuse a key that occurs twice, before PyYAML adds merged keys to the mapping's own."""
        if id(node) not in self._known:
            self._known.add(id(node))
            seen = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode) and (key.tag, key.value) in seen:
                    raise _error(key, f'the key {key.value!r} stands twice in one mapping: remove one of the two')
                if isinstance(key, yaml.ScalarNode):
                    seen.add((key.tag, key.value))
        super().flatten_mapping(node)


def _number(loader: DataLoader, node) -> int | float:
    text = loader.construct_scalar(node)
    if ':' in text:
        raise _error(node, f'{text} is a number of base 60 in YAML 1.1 and text in 1.2: put it into quotes')
    if _OCTAL.fullmatch(text) and text.strip('+-0_'):
        meant = 'is octal in YAML 1.1 and decimal in 1.2'
        raise _error(node, f'{text} {meant}: write {int(text)} or {int(text, 8)}, or put it into quotes')
    if node.tag.endswith(':float'):
        return loader.construct_yaml_float(node)
    return loader.construct_yaml_int(node)


def _refuse(loader: DataLoader, suffix: str, node):
    raise _error(node, f'it asks for Python ({suffix}), and YAML is read as data: a config that runs code ends in .py')


def _error(node, problem: str) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(problem=f'line {node.start_mark.line + 1}: {problem}')


DataLoader.add_implicit_resolver('tag:yaml.org,2002:float', _EXPONENT, list('-+.0123456789'))
for _tag in ('int', 'float'):
    DataLoader.add_constructor(f'tag:yaml.org,2002:{_tag}', _number)
DataLoader.add_constructor(
    'tag:yaml.org,2002:python/tuple', lambda loader, node: tuple(loader.construct_sequence(node, deep=True))
)
DataLoader.add_multi_constructor('tag:yaml.org,2002:python/', _refuse)
