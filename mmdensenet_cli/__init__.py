"""The command ``mmdensenet``: a file for each of its commands, with the parser and what runs after it.

A package of its own, because importing mmdensenet takes seconds: it is imported after the arguments are parsed, so that
``--help``, typing errors and completion answer at once.
"""
