"""YAML files, as configs and annotations are: numbers are what people mean by them, or are refused with their line."""

import math

import pytest
import yaml
from mmengine.config import Config
from mmengine.fileio import dump, load

from mmdensenet.apis.config import load_config
from mmdensenet.compat.yaml_data import DataLoader
from mmdensenet.errors import UserError


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('1e-3', 1e-3),
        ('-5E+2', -500.0),
        ('.5e1', 5.0),
        ('1.e3', 1000.0),
        ('1.5e-3', 1.5e-3),
        ('.5', 0.5),
        ('-.inf', -math.inf),
        ('0', 0),
        ('-0', 0),
        ('0.010', 0.01),
        ('0x10', 16),
        ('1_000', 1000),
        ('"010"', '010'),
        ("'1:30'", '1:30'),
        ('1e-3x', '1e-3x'),
        ('n01440764', 'n01440764'),
    ],
)
def test_values(text, value):
    found = yaml.load(text, DataLoader)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('010', 'line 3: 010 is octal in YAML 1.1 and decimal in 1.2: write 10 or 8, or put it into quotes'),
        ('[1, -0777]', 'line 3: -0777 is octal .* write -777 or -511'),
        ('{gt_label: 0_10}', 'write 10 or 8'),
        ('1:30', 'line 3: 1:30 is a number of base 60'),
        ('1:30.5', 'base 60'),
        ('{a: 1, b: 2, a: 3}', "line 3: the key 'a' stands twice"),
        ('1\nmodel: 2', "line 4: the key 'model' stands twice"),
    ],
)
def test_what_may_mean_two_things_is_refused(tmp_path, line, message):
    file = tmp_path / 'c.yaml'
    file.write_text(f'model: {{type: X}}\n\nvalue: {line}\n')
    with pytest.raises(UserError, match=f'c.yaml cannot be read: .*{message}'):
        load_config(str(file))


def test_merged_keys_are_no_repetition(tmp_path):
    text = 'a: &a {x: 1, y: 2}\nb: &b {<<: *a, x: 3}\nc: {<<: [*b, *a], y: 4}\nd: {<<: *b}\ne: *b'
    wanted = dict(a=dict(x=1, y=2), b=dict(x=3, y=2), c=dict(x=3, y=4), d=dict(x=3, y=2), e=dict(x=3, y=2))
    assert yaml.load(text, DataLoader) == yaml.safe_load(text) == wanted


def test_what_mmengine_writes_comes_back(tmp_path):
    content = dict(lr=1e-5, big=1e22, n=8, word='010', time='1:30', names=['yes', '0x1', '1.0'], pair=(1, 2))
    dump(content, tmp_path / 'c.yaml')
    assert load(tmp_path / 'c.yaml') == content
    assert Config.fromfile(tmp_path / 'c.yaml').lr == 1e-5
