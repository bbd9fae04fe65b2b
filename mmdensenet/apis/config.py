"""Load configs, name what they register, and refuse options that no config has."""

import ast
import functools
import inspect
import re
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.hub import get_config
from mmengine.runner import Runner
from mmengine.utils import get_installed_path, get_object_from_string, import_modules_from_strings, is_installed
from mmpretrain.registry import DATASETS, MODELS, TRANSFORMS

from mmdensenet.compat.faults import APPLIED
from mmdensenet.compat.mmengine_configs import CONFIG_SCOPE, DATA_CONFIGS
from mmdensenet.errors import LONGEST, UserError
from mmdensenet.similar import did_you_mean, similar_path

#: endings of configs that are no programs
DATA_ONLY = ('.json', '.yaml', '.yml')
#: the keys of a config's data loaders
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
#: top-level keys that a config may lack and options may set
KNOWN_KEYS = {
    *(name for name in inspect.signature(Runner.__init__).parameters if name != 'self'),
    *('custom_imports', 'tta_model', 'tta_pipeline', 'model_wrapper_cfg', 'find_unused_parameters', 'sync_bn'),
    *('compile', 'efficient_conv_bn_eval', 'activation_checkpointing', 'runner_type'),
}


def load_config(path: str, options: dict | None = None) -> Config:
    """Load a config file, or one of mmdensenet's own as 'mmdensenet::NAME', and merge ``options`` into it.

    A ``.py`` file is run. A ``.yaml`` or ``.json`` file is only read: its ``custom_imports`` are not imported yet, and
    it inherits from other such files and from installed packages ('mmdensenet::NAME.py').

    Args:
        path: of a ``.py``, ``.yaml`` or ``.json`` file, or 'mmdensenet::NAME'.
        options: dotted keys to values, as ``--cfg-options`` gives them.

    Raises:
        UserError: if the file does not exist or cannot be read, or a key of ``options`` is unknown.
    """
    if '::' in path:
        _require_package(path)  # mmengine would install it
    else:
        _require_config_file(path)
    try:
        cfg = get_config(path) if '::' in path else _read(path)
        list(nested_dicts(cfg._cfg_dict))  # mmengine imports for a pure-Python config when a value is read
    except UserError:
        raise
    except FileNotFoundError as error:
        if '::' in path:
            raise UserError(f'config {path} does not exist.{_own_config(path)}') from error
        hint = similar_path(error.filename) if error.filename else ''
        raise UserError(f'{path}: a file that it names does not exist: {error}.{hint}') from error
    except RecursionError as error:
        raise UserError(f'{path} inherits from itself, through _base_ of it or of a config that it names.') from error
    except Exception as error:  # a config is a program: it can fail in any way
        text = (str(error).strip().splitlines() or [''])[0]
        text = f'{text[:LONGEST]} ...' if len(text) > LONGEST else text
        hint = _unquoted_variable(path) if isinstance(error, SyntaxError) else ''
        raise UserError(f'{path} cannot be read: {type(error).__name__}: {text}{hint}') from error
    merge_options(cfg, options or {})
    return named(cfg)


def named(cfg: Config) -> Config:
    """The config, changed: with a default scope, and the names of registered classes in the place of the classes.

    Pure-Python configs have classes as types and no scope. What is here looks at names, and adds entries by name.
    """
    if not cfg.get('default_scope'):
        cfg.default_scope = CONFIG_SCOPE
    for key in (*LOADERS, 'tta_pipeline', 'model', 'tta_model'):
        for entry in nested_dicts(cfg.get(key)):
            kind = entry.get('type')
            if isinstance(kind, str) and kind.count('.') > 1:  # mmengine writes a class with its module
                kind = get_object_from_string(kind)
            if isinstance(kind, type) and (name := next(_names_of(kind), None)):
                entry['type'] = name  # others stay: a lazy class that is put back as a class cannot be written
    return cfg


def nested_dicts(entry: object) -> Iterator[dict]:
    """All dicts in a part of a config, the outer before those in it."""
    if isinstance(entry, dict):
        yield entry
    values = entry.values() if isinstance(entry, dict) else entry if isinstance(entry, (list, tuple)) else ()
    for value in values:
        yield from nested_dicts(value)


def _names_of(cls: type) -> Iterator[str]:
    """The names under which configs of mmpretrain's scope find this class."""
    for registry in (TRANSFORMS, DATASETS, MODELS):
        for name in (cls.__name__, f'mmdensenet.{cls.__name__}'):
            if registry.get(name) is cls:
                yield name


def load_to_build(path: str, options: dict | None = None) -> Config:
    """:func:`load_config`, and import what the config names in ``custom_imports``, for objects are built from it."""
    cfg = load_config(path, options)
    if path.endswith(DATA_ONLY) and cfg.get('custom_imports'):
        try:
            import_modules_from_strings(**cfg.custom_imports)
        except Exception as error:  # a module can fail in any way
            raise UserError(f'{path}: custom_imports: {str(error).strip() or type(error).__name__}') from error
    return cfg


#: the file of data that this thread loads
_only_data: ContextVar[str | None] = ContextVar('_only_data', default=None)


@DATA_CONFIGS.repaired_by
def inherit_from_data_only() -> None:
    """Check the bases of a file where mmengine reads them: environment variables are in its text by then."""
    find = Config._get_base_files

    @functools.wraps(find)
    def find_data(filename: str) -> list:
        if filename.endswith('.py'):
            _require_keys_once(filename)
        try:
            bases = find(filename)
        except AttributeError as error:  # what mmengine says of a list
            raise UserError(f'{_only_data.get() or filename} is no config: it must be a mapping of keys.') from error
        for base in bases if _only_data.get() and filename.endswith(DATA_ONLY) else ():
            package, _, name = str(base).rpartition('::')
            inside = package and not Path(name).is_absolute() and '..' not in Path(name).parts
            if not inside and not str(base).endswith(DATA_ONLY):
                raise UserError(
                    f'{_only_data.get()} is data, and its _base_ {base} would be run: inherit '
                    "'mmdensenet::NAME.py', or make it a .py config."
                )
        return bases

    Config._get_base_files = staticmethod(find_data)


def _require_keys_once(file: str) -> None:
    """Refuse ``{'a': 1, 'a': 2}`` in a program, of which Python keeps the last value silently."""
    for node in ast.walk(ast.parse(Path(file).read_text(encoding='utf-8'))):
        seen = set()
        for key in node.keys if isinstance(node, ast.Dict) else ():
            if isinstance(key, ast.Constant) and (key.value in seen or seen.add(key.value)):
                raise ValueError(
                    f'the key {key.value!r} stands twice in one dict, line {key.lineno} of it or of a config that it '
                    'inherits: remove one of the two'
                )


def _read(path: str) -> Config:
    if not path.endswith(DATA_ONLY):
        return Config.fromfile(path)
    if DATA_CONFIGS.state != APPLIED:
        raise UserError(f'{path}: with this version of mmengine a data config may run code. Use a .py one.')
    token = _only_data.set(path)
    try:
        return Config.fromfile(path, import_custom_modules=False)
    finally:
        _only_data.reset(token)


def merge_options(cfg: Config, options: dict) -> None:
    """Set dotted keys of a config.

    Raises:
        UserError: for a key that neither the config nor mmengine's runner knows.
    """
    for key in options:
        first = key.split('.')[0]
        if first not in cfg and first not in KNOWN_KEYS:
            raise UserError(
                f'`cfg_options` {key}: the config has no {first!r}.{did_you_mean(first, [*cfg.keys(), *KNOWN_KEYS])}'
            )
    try:
        cfg.merge_from_dict(options)
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise UserError(f'`cfg_options` {" ".join(options)}: {error.args[0]}') from error


def _unquoted_variable(path: str) -> str:
    """mmengine looks at the syntax before it puts the values of environment variables in."""
    found = re.search(r'\{\{\s*(\$\w+[^}]*?)\s*\}\}', '' if '::' in path else Path(path).read_text(encoding='utf-8'))
    return f"\nWrite {{{{'{found[1]}'}}}} for a number, and '{found[0]}' for text." if found else ''


def _require_config_file(path: str) -> None:
    file = Path(path)
    if file.is_file():
        if file.suffix not in ('.py', *DATA_ONLY):
            raise UserError(f'{path} is not a config: its name must end in .py, .json, .yaml or .yml.')
        return
    if file.is_dir():
        raise UserError(f'{path} is a folder: name a config file in it.')
    hint = similar_path(path, ('.py', *DATA_ONLY)) or _own_config(f'mmdensenet::{file.name}')
    raise UserError(f'config {path} does not exist.{hint}')


def _require_package(path: str) -> None:
    package = path.partition('::')[0]
    if package not in MODULE2PACKAGE or not is_installed(MODULE2PACKAGE[package]):
        raise UserError(
            f'config {path}: the package {package} is not installed.{did_you_mean(package, ["mmdensenet"])}'
        )


def _own_config(path: str) -> str:
    """The end of a message: which config of an installed package may be meant by ``'PACKAGE::NAME'``."""
    package, _, name = path.partition('::')
    name = name.removesuffix('.py')
    folder = Path(get_installed_path(package), '.mim', 'configs')
    known = [f'{package}::{file.relative_to(folder).with_suffix("").as_posix()}' for file in folder.rglob('*.py')]
    begun = [config for config in known if name and config.startswith(f'{package}::{name}')]
    if len(begun) == 1 or f'{package}::{name}' in begun:
        return f' Did you mean {min(begun)}?'
    if begun:
        return f' {len(begun)} configs begin so; one is {min(begun)}.'
    return did_you_mean(f'{package}::{name}', known)
