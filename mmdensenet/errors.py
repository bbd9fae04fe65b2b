"""The exceptions for what a user can put right."""

#: characters of what others say, who may quote a whole config
LONGEST = 300


class UserError(Exception):
    """A mistake in a command, config, file or data set.

    The message names the file, key or value at fault and what to do, in one or two lines. It names arguments as Python
    has them, as NAME=VALUE or between backticks. Our tools print it without a traceback, with their options in
    the place of these (:func:`mmdensenet.cli.as_options`), and exit with status 2.
    """


class NoClassError(UserError, NotImplementedError):
    """A data set that is asked for the class of a sample, and has labels of another kind."""


def first_line(error: BaseException) -> str:
    """The first line of an error's text, for our messages; its class if it has no text."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def option_text(key: str, value: object) -> str:
    """Return the text with which messages name an override of the config.

    >>> option_text('train_dataloader.batch_size', 16)
    "cfg_options={'train_dataloader.batch_size': 16}"
    """
    return f'cfg_options={{{key!r}: {value}}}'


class BadImageError(UserError):
    """An image that cannot be read; ``path`` and ``reason`` are empty on the other side of a process."""

    path = reason = ''

    @classmethod
    def of(cls, path: str, reason: str) -> 'BadImageError':
        made = cls(f'{path} cannot be read as an image: repair or remove it ({reason}).')
        made.path, made.reason = str(path), reason
        return made
