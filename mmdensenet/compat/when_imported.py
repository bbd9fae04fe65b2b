"""Repairs of packages that take seconds to import, made when somebody imports them."""

import importlib.machinery
import sys
from collections.abc import Callable
from types import ModuleType


def when_imported(name: str, repair: Callable[[], None]) -> None:
    """Call ``repair`` now if the module is imported, else right after somebody imports it."""
    if name in sys.modules:
        repair()
        return
    finder = next((found for found in sys.meta_path if isinstance(found, _Finder)), None)
    if finder is None:
        finder = _Finder()
        sys.meta_path.insert(0, finder)
    finder.repairs.setdefault(name, []).append(repair)


class _Finder:
    """An import hook that lets the other finders find, and has the repairs run after the module's own code."""

    def __init__(self):
        self.repairs: dict[str, list[Callable[[], None]]] = {}

    def find_spec(self, name: str, path=None, target=None) -> importlib.machinery.ModuleSpec | None:
        if name not in self.repairs:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None:
                break
        else:
            return None
        repairs = self.repairs.pop(name)
        execute = spec.loader.exec_module

        def execute_and_repair(module: ModuleType) -> None:
            execute(module)
            for repair in repairs:
                repair()

        spec.loader.exec_module = execute_and_repair
        return spec
