"""The exceptions for what a user can put right."""


class UserError(Exception):
    """A mistake in a command, config, file or data set.

    The message names the file, key or value at fault and what to do, in one or two lines. Our tools print it without a
    traceback and exit with status 2.
    """


class BadImageError(UserError):
    """An image that cannot be read; ``path`` and ``reason`` are empty on the other side of a process."""

    path = reason = ''

    @classmethod
    def of(cls, path: str, reason: str) -> 'BadImageError':
        made = cls(f'{path} cannot be read as an image: repair or remove it ({reason}).')
        made.path, made.reason = str(path), reason
        return made
