"""mmdensenet.compat.faults: when a repair is made and when it is left out."""

import logging
import sys

import pytest

from mmdensenet.compat import faults
from mmdensenet.compat.faults import Fault, find, replace_everywhere, uses, wrapping


@pytest.fixture(autouse=True)
def own_list(monkeypatch):
    monkeypatch.setattr(faults, 'FAULTS', [])


def fault(*targets, **options):
    return Fault('what is broken', 'all versions', 'the end', targets, **options)


def test_a_repair_is_made_at_once():
    entry, calls = fault('os:path.join'), []
    assert [entry] == faults.FAULTS and entry.state == 'waiting'
    entry.repaired_by(lambda: calls.append(1))
    assert calls == [1] and entry.state == 'applied'


@pytest.mark.parametrize(
    ('targets', 'options', 'reason'),
    [
        (['os:path.join', 'os:no_such_name'], {}, 'os:no_such_name is not there in this version'),
        (['no_such_module:name'], {}, 'no_such_module:name is not there in this version'),
        (['os:path'], dict(is_repaired=lambda: True), 'this version has repaired it'),
    ],
)
def test_a_repair_is_left_out_with_one_line(caplog, targets, options, reason):
    caplog.set_level(logging.INFO)
    entry = fault(*targets, **options)

    @entry.repaired_by
    def mend_it():
        raise AssertionError('must not run')

    assert entry.state == 'skipped'
    level = logging.INFO if 'has repaired it' in reason else logging.WARNING  # a warning asks for something
    assert caplog.record_tuples == [('mmdensenet', level, f'mmdensenet.compat leaves out mend_it ({reason})')]
    assert entry.reason == reason


def test_a_repair_that_does_not_fit_is_left_out(caplog):
    entry = fault('os:path')

    @entry.repaired_by
    def mend_it():
        find('os:no_such_name')

    assert entry.state == 'skipped' and 'mend_it (AttributeError: ' in caplog.text


def test_a_repair_of_a_package_that_is_not_imported_yet(tmp_path, monkeypatch):
    (tmp_path / 'slow_package_1.py').write_text('value = 1\n')
    monkeypatch.syspath_prepend(tmp_path)
    entry = fault('slow_package_1:value', owner='slow_package_1')

    @entry.repaired_by
    def mend_it():
        import slow_package_1

        slow_package_1.value += 1

    assert entry.state == 'waiting' and 'slow_package_1' not in sys.modules
    import slow_package_1

    assert slow_package_1.value == 2 and entry.state == 'applied'
    again = fault('slow_package_1:value', owner='slow_package_1')
    again.repaired_by(mend_it)
    assert slow_package_1.value == 3 and again.state == 'applied', 'it is imported already'


def test_what_a_function_uses():
    def function(path):
        import json

        return json.dumps(sorted(path))

    assert uses(function, 'json') and uses(function, 'dumps') and uses(function, 'sorted')
    assert not uses(function, 'pickle')
    assert uses(len, 'anything')  # no code to look at: the fault may be there


def test_replaced_wherever_it_was_imported(monkeypatch):
    import mmengine.fileio
    import mmengine.fileio.io

    old = mmengine.fileio.exists
    try:
        replace_everywhere(old, new := lambda path: True)
        assert mmengine.fileio.exists is new and mmengine.fileio.io.exists is new
    finally:
        replace_everywhere(new, old)
    assert mmengine.fileio.exists is old


class Parent:
    def method(self, x):
        """Its own words."""
        return x

    @classmethod
    def of_class(cls, x):
        return cls, x

    @staticmethod
    def of_none(x):
        return x


class Child(Parent):
    pass


def test_each_kind_of_method_is_wrapped_in_its_class_alone():
    for name in ('method', 'of_class', 'of_none'):
        wrapping(Child, name)(lambda old, *args: ('wrapped', old(*args)))
    assert Child().method(1) == ('wrapped', 1)
    assert Child().of_class(2) == Child.of_class(2) == ('wrapped', (Child, 2))
    assert Child().of_none(3) == Child.of_none(3) == ('wrapped', 3)
    assert Child.method.__doc__ == 'Its own words.'
    assert (Parent().method(1), Parent.of_class(2), Parent.of_none(3)) == (1, (Parent, 2), 3)
    with pytest.raises(AttributeError, match='not_there'):
        wrapping(Child, 'not_there')(lambda old: None)
