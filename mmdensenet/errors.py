"""The one exception for what a user can put right."""


class UserError(Exception):
    """A mistake in a command, config, file or data set.

    The message names the file, key or value at fault and what to do, in one or two lines. Our tools print it without a
    traceback and exit with status 2.
    """
