"""The list of faults; each repair is applied, or left out with a reason."""

import functools
import inspect
import logging
import pkgutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType

import wrapt

WAITING, APPLIED, SKIPPED = 'waiting', 'applied', 'skipped'
REPAIRED = 'this version has repaired it'


@dataclass(eq=False)
class Fault:
    """One fault of another package. Making one adds it to :data:`FAULTS`.

    Attributes:
        what, versions, until: the fault, the versions that have it, and when the repair can go.
        targets: what the repair needs, 'module:name.of.attribute'.
        is_repaired: whether the installed version no longer has the fault.
        owner: a module that takes seconds to import: the repair waits until somebody does.
        state: 'waiting' until the owner of the repair is imported, then 'applied' or 'skipped'.
        reason: why it is skipped, or None.
    """

    what: str
    versions: str
    until: str
    targets: tuple[str, ...]
    is_repaired: Callable[[], bool] = lambda: False
    owner: str | None = None
    state: str = field(default=WAITING, init=False)
    reason: str | None = field(default=None, init=False)

    def __post_init__(self):
        FAULTS.append(self)

    def repaired_by(self, repair: Callable[[], None]) -> Callable[[], None]:
        """A decorator that calls ``repair`` at once, or when :attr:`owner` is imported.

        It is left out, with one line in the log, where a target is missing or the fault is: a later version of the
        package has renamed the one, which is a warning, or repaired the other, which is of level INFO.
        """
        if self.owner is None:
            self._make(repair)
        else:
            wrapt.register_post_import_hook(lambda module: self._make(repair), self.owner)
        return repair

    def _make(self, repair: Callable[[], None]) -> None:
        reason = self._why_not()
        if reason is None:
            try:
                repair()
            except (AttributeError, ImportError, TypeError) as error:
                reason = f'{type(error).__name__}: {error}'
        self.state, self.reason = SKIPPED if reason else APPLIED, reason
        if reason:
            # no logger of mmengine's: making one configures it for the run that follows
            level = logging.INFO if reason == REPAIRED else logging.WARNING
            logging.getLogger('mmdensenet').log(level, 'mmdensenet.compat leaves out %s (%s)', repair.__name__, reason)

    def _why_not(self) -> str | None:
        for target in self.targets:
            try:
                find(target)
            except (ImportError, AttributeError):
                return f'{target} is not there in this version'
        return REPAIRED if self.is_repaired() else None


FAULTS: list[Fault] = []


#: the object that a target names; raises ImportError or AttributeError if it does not exist
find = pkgutil.resolve_name


def uses(function: Callable, name: str) -> bool:
    """Whether the code of a function mentions a global, an attribute, a module or a string constant of this name."""
    code = getattr(function, '__code__', None)
    return code is None or name in code.co_names or name in code.co_consts


def wrapping(owner: type | ModuleType, name: str) -> Callable[[Callable], Callable]:
    """A decorator that puts a function in the place of a class's or a module's, which it gets as its first argument.

    That of a module is replaced as :func:`replace_everywhere` does.
    """

    def replace(new: Callable) -> Callable:
        given = inspect.getattr_static(owner, name)
        is_method = isinstance(given, (classmethod, staticmethod))
        old = given.__func__ if is_method else given

        @functools.wraps(old)
        def call(*args, **kwargs):
            return new(old, *args, **kwargs)

        if isinstance(owner, ModuleType):
            replace_everywhere(old, call, owner.__name__.partition('.')[0])
        else:
            setattr(owner, name, type(given)(call) if is_method else call)
        return new

    return replace


def replace_everywhere(old: Callable, new: Callable, *packages: str) -> None:
    """Rebind ``old`` in every module of mmengine, mmpretrain and ``packages`` that has taken it by name."""
    for name, module in list(sys.modules.items()):
        if name.split('.')[0] in ('mmengine', 'mmpretrain', *packages) and module is not None:
            for attribute, value in list(vars(module).items()):
                if value is old:
                    setattr(module, attribute, new)
