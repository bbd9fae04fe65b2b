import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import CONFIGS, DIGITS
from mmengine.config import Config

from mmdensenet.apis import load_config
from mmdensenet.apis.config import load_to_build
from mmdensenet.errors import UserError


def test_options_override():
    cfg = load_config(str(DIGITS), {'model.backbone.drop_rate': 0.1, 'val_dataloader': None})
    assert cfg.model.backbone.drop_rate == 0.1
    assert cfg.val_dataloader is None


def test_own_configs_by_name():
    assert load_config('mmdensenet::densenet169_4xb256_in1k').model.backbone.arch == '169'


@pytest.mark.parametrize(
    ('path', 'message'),
    [
        ('configs/nope.py', r'config configs/nope\.py does not exist\.$'),
        (str(CONFIGS / 'densenet121_4xb265_in1k.py'), r'Did you mean densenet121_4xb256_in1k\.py\?'),
        (str(CONFIGS.parent / 'Makefile'), 'must end in'),
        ('mmdensenet::densenet121_4xb265_in1k.py', r'Did you mean mmdensenet::densenet121_4xb256_in1k\?'),
        ('mmdensenet::densenet121', r'\d configs begin so; one is mmdensenet::densenet121'),
        ('densenet-bc-l22-k12_1xb32_digits', r'Did you mean mmdensenet::densenet-bc-l22-k12_1xb32_digits\?'),
        ('xyz/densenet-bc-l22.py', r'Did you mean mmdensenet::densenet-bc-l22-k12_1xb32_digits\?'),
    ],
)
def test_wrong_paths(path, message):
    with pytest.raises(UserError, match=message):
        load_config(path)


def test_broken_files(tmp_path):
    (tmp_path / 'a.py').write_text('model = dict(\n')
    with pytest.raises(UserError, match=r'a\.py'):
        load_config(str(tmp_path / 'a.py'))
    (tmp_path / 'b.py').write_text("_base_ = './gone.py'\n")
    with pytest.raises(UserError, match=r'b\.py.*gone\.py'):
        load_config(str(tmp_path / 'b.py'))


RUN = "open('RAN', 'w').close()"


@pytest.mark.parametrize(
    ('name', 'text'),
    [
        ('a.yaml', f'model: !!python/object/apply:builtins.eval ["{RUN}"]'),
        ('a.yml', 'model: !!python/name:os.system'),
        ('a.yaml', "model: !!python/object/new:os.system ['touch RAN']"),
        ('a.yaml', 'model: 1\n_base_: evil.py'),
        ('a.json', '{"_base_": "evil.p\\u0079"}'),
        ('a.json', '{"_{{ $KEY:base }}_": ["b.json"]}'),
        ('a.json', '{"_base_": "mmdensenet::../../evil.py"}'),
        ('a.json', '{"_base_": "mmdensenet::{folder}/evil.py"}'),
    ],
)
def test_configs_that_are_data_run_nothing(tmp_path, monkeypatch, name, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'evil.py').write_text(RUN)
    (tmp_path / 'b.json').write_text('{"_base_": "evil.py"}')
    (tmp_path / name).write_text(text.replace('{folder}', str(tmp_path)))
    with pytest.raises(UserError, match=rf'{name}.*(YAML is read as data|would be run)'):
        load_config(name)
    assert not (tmp_path / 'RAN').exists()


def test_refusing_programs_is_of_one_thread(tmp_path):
    """While one thread loads data only, mmengine's own loading in another may inherit from a program."""
    (tmp_path / 'program.py').write_text('x = 1')
    (tmp_path / 'a.json').write_text('{"_base_": "program.py"}')

    def refused(_):
        with pytest.raises(UserError, match='would be run'):
            load_config(str(tmp_path / 'a.json'))

    def loaded(_):
        assert Config.fromfile(tmp_path / 'a.json').x == 1

    with ThreadPoolExecutor(2) as pool:
        runs = [pool.map(function, range(20)) for function in (refused, loaded)]
        assert [len(list(run)) for run in runs] == [20, 20]


def test_what_mmengine_writes_is_the_config(tmp_path, monkeypatch, yapf_layout):
    """Laid out, as in work directories and checkpoints."""
    monkeypatch.setattr('mmengine.config.config.FormatCode', yapf_layout, raising=False)
    monkeypatch.setattr('yapf.yapflib.yapf_api.FormatCode', yapf_layout)
    cfg = load_config(str(DIGITS))
    cfg.dump(str(tmp_path / 'written.py'))
    assert '\n    backbone=dict(\n' in (tmp_path / 'written.py').read_text()
    assert Config.fromfile(tmp_path / 'written.py').to_dict() == cfg.to_dict()


@pytest.mark.parametrize('suffix', ['.yaml', '.json'])
def test_configs_that_are_data(tmp_path, monkeypatch, suffix):
    """Written by mmengine, with tuples and imports; and small ones that inherit."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    module = f'of_a_config_in_{suffix[1:]}'
    (tmp_path / f'{module}.py').write_text(RUN)
    cfg = load_config(str(DIGITS), {'custom_imports.imports': [module], 'model.head.topk': (1, 3)})
    cfg.dump(f'whole{suffix}')
    content = json.dumps(dict(_base_=[f'whole{suffix}'], model=dict(head=dict(num_classes=7))))
    (tmp_path / f'small{suffix}').write_text(content)
    loaded = load_config(f'small{suffix}')
    assert not (tmp_path / 'RAN').exists(), 'imports wait until something is built'
    assert loaded.model.head.num_classes == 7 and list(loaded.model.backbone.arch.depths) == [3, 3, 3]
    assert loaded.model.head.topk == ((1, 3) if suffix == '.yaml' else [1, 3])
    load_to_build(f'small{suffix}')
    assert (tmp_path / 'RAN').exists()
    (tmp_path / f'own{suffix}').write_text('{"_base_": "mmdensenet::densenet121_4xb256_in1k.py"}')
    assert load_config(f'own{suffix}').model.backbone.arch == '121'


def test_imports_of_a_config_that_fail(tmp_path):
    (tmp_path / 'a.json').write_text('{"custom_imports": {"imports": ["no_such_module"]}}')
    with pytest.raises(UserError, match=r'a\.json: custom_imports: .*no_such_module'):
        load_to_build(str(tmp_path / 'a.json'))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'trian_cfg.max_epochs': 1}, "no 'trian_cfg'.* Did you mean train_cfg"),
        ({'param_scheduler.milestones.9': 1}, 'param_scheduler'),
    ],
)
def test_unknown_options(options, message):
    with pytest.raises(UserError, match=message):
        load_config(str(DIGITS), options)


@pytest.mark.parametrize('inherited', [False, True])
def test_a_key_that_stands_twice_in_a_dict(tmp_path, inherited):
    """Python keeps the last one silently."""
    file, other = tmp_path / 'c.py', tmp_path / 'd.py'
    file.write_text("a = 1\nkeys = {'stem': 0.1, 'head': 1, 'stem': 0.2}\n")
    other.write_text("_base_ = 'c.py'\n")
    with pytest.raises(UserError, match=r"the key 'stem' stands twice in one dict, line 2 of it or of a config"):
        load_config(str(other if inherited else file))
    file.write_text("a = {1: 0}\nkeys = {**a, **a, 'stem': {'stem': 1}, 'head': {'stem': 2}}\n")
    assert load_config(str(file))['keys']['stem'].stem == 1
