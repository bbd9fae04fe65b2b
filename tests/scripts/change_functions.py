"""Changed code for the functions of a module that is imported already."""

import gc
import sys
from collections import defaultdict
from pathlib import Path
from types import CodeType, FrameType, FunctionType

FUNCTION = 0x1  # CO_OPTIMIZED: neither a module's code nor a class's


class Functions:
    """Those of a file, by qualified name and line: made from its code, and called until `stop`."""

    def __init__(self, file: Path):
        self.file, self.called, self.made = str(file), set(), defaultdict(list)

        def note(frame: FrameType, event: str, _) -> None:
            if event == 'call' and frame.f_code.co_filename == self.file:
                self.called.add(_place(frame.f_code))

        sys.setprofile(note)

    def stop(self) -> None:
        sys.setprofile(None)
        for function in gc.get_objects():
            if type(function) is FunctionType and function.__code__.co_filename == self.file:
                self.made[_place(function.__code__)].append(function)

    def change(self, before: str, after: str) -> bool:
        """Whether the changed text differs in functions alone that nothing has called, which then have its code."""
        old, new = (compile(text, self.file, 'exec', dont_inherit=True) for text in (before, after))
        pairs = _differing(old, new)
        if not pairs:
            return False
        try:
            for was, code in pairs:
                made = self.made.get(_place(was), [])
                if not made or _place(was) in self.called or any(function.__code__ != was for function in made):
                    return False
                for function in made:
                    function.__code__ = code
        except ValueError:  # the code closes over other variables
            return False
        return True


def _place(code: CodeType) -> tuple[str, int]:
    return code.co_qualname, code.co_firstlineno


def _differing(old: CodeType, new: CodeType) -> list[tuple[CodeType, CodeType]] | None:
    """The outermost functions whose code differs; None if code outside of functions does."""
    if old == new:
        return []
    if old.co_flags & FUNCTION:
        return [(old, new)]
    nested = [[const for const in code.co_consts if isinstance(const, CodeType)] for code in (old, new)]
    rest = [[const for const in code.co_consts if not isinstance(const, CodeType)] for code in (old, new)]
    if repr(rest[0]) != repr(rest[1]) or len(nested[0]) != len(nested[1]) or _bare(old) != _bare(new):
        return None
    pairs = [_differing(*both) for both in zip(*nested, strict=True)]
    return None if None in pairs else [pair for found in pairs for pair in found]


def _bare(code: CodeType) -> CodeType:
    return code.replace(co_consts=(), co_linetable=b'')
