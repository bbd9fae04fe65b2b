"""The commands and the code that README.md and docs/*.md show, and what the pages say about running them.

Fenced blocks:

- ``bash``: commands, one a line; a backslash at its end carries a line on, ``#`` begins a comment.
- ``console``: lines that begin with ``$ `` are commands, the others what they print, with ``...`` for anything.
- ``python``: a program; a file, where the first line is ``# NAME.py``; a config, where it sets keys of one.
- ``text`` and others of ``OTHER``: nothing to run.

Comments before a block, which readers do not see, say how it is run:

- ``<!-- not run: REASON -->``
- ``<!-- not run (WORDS): REASON -->``: those of its commands only that contain the words.
- ``<!-- run with: OPTIONS -->``, ``<!-- run with (WORDS): OPTIONS -->``: options that make them short.
"""

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]
#: languages of blocks in which nothing is to be run
OTHER = {'text', 'bibtex', 'json', 'csv', 'nginx'}
RUN = {'bash', 'console', 'python'}
#: other comments that pages have
KNOWN_COMMENTS = ('generated from configs/metafile.yml', 'end of what is generated')

COMMENT = re.compile(r'<!--(.*?)-->')
MARKER = re.compile(r'(?P<kind>not run|run with)(?: \((?P<words>.+?)\))?:(?P<text>.*)')


class PageError(Exception):
    """A page shows something in a way that these tests do not know."""


@dataclass(frozen=True)
class Marker:
    kind: str
    words: str
    text: str

    def is_for(self, command: str) -> bool:
        return self.words in command


@dataclass
class Block:
    page: Path
    line: int
    language: str
    text: str
    markers: list[Marker] = field(default_factory=list)

    @property
    def place(self) -> str:
        return f'{name_of(self.page)}:{self.line}'

    @property
    def not_run(self) -> str | None:
        """Why nothing of this block is run, or None."""
        return next((m.text for m in self.markers if m.kind == 'not run' and not m.words), None)

    @property
    def file_name(self) -> str | None:
        """The file that a python block is, or None."""
        found = re.match(r'# ([\w/.-]+\.py)\n', self.text)
        return found[1] if found else None


@dataclass
class Command:
    block: Block
    text: str  # as it is shown, its lines joined
    expected: str | None = None  # what the page says that it prints

    @property
    def not_run(self) -> str | None:
        return next((m.text for m in self.block.markers if m.kind == 'not run' and m.is_for(self.text)), None)

    @property
    def options(self) -> str:
        """The options that the page adds to this command for a test."""
        return ' '.join(m.text for m in self.block.markers if m.kind == 'run with' and m.is_for(self.text))


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page.

    Raises:
        PageError: for an unknown language or comment, a marker without text, or one that stands before no block.
    """
    found: list[Block] = []
    markers: list[Marker] = []
    lines = iter(enumerate(page.read_text(encoding='utf-8').splitlines(), 1))
    for number, line in lines:
        place = f'{name_of(page)}:{number}'
        if fence := re.match(r'( *)(```+|~~~+)(.*)', line):
            indent, marks, language = len(fence[1]), fence[2], fence[3].strip()
            body = []
            for _, inner in lines:
                if inner.strip() == marks:
                    break
                body.append(inner[indent:])
            else:
                raise PageError(f'{place}: the block does not end.')
            if language in RUN:
                found.append(Block(page, number, language, '\n'.join(body) + '\n', markers))
                _check_words(found[-1], place)
            elif language not in OTHER and not language.startswith('{'):
                raise PageError(f'{place}: unknown language {language!r} of a block.')
            elif markers:
                raise PageError(f'{place}: there is nothing to run in a block of {language}.')
            markers = []
        elif comment := COMMENT.search(line):
            text = comment[1].strip()
            if marker := MARKER.fullmatch(text):
                if not marker['text'].strip():
                    raise PageError(f'{place}: {text!r} gives no reason or options.')
                markers.append(Marker(marker['kind'], marker['words'] or '', marker['text'].strip()))
            elif not text.startswith(KNOWN_COMMENTS):
                raise PageError(f'{place}: unknown comment {text!r}.')
        elif '<!--' in line:
            raise PageError(f'{place}: a comment has to end on its line.')
        elif line.strip() and markers:
            raise PageError(f'{place}: a marker must stand just before a block.')
    if markers:
        raise PageError(f'{page.name}: a marker at its end.')
    return found


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT) if page.is_relative_to(ROOT) else page)


def _check_words(block: Block, place: str) -> None:
    for marker in block.markers:
        if marker.words and block.language == 'python':
            raise PageError(f'{place}: a python block is run as a whole.')
        if marker.words and not any(marker.is_for(command.text) for command in commands(block)):
            raise PageError(f'{place}: no command contains {marker.words!r}.')


def commands(block: Block) -> list[Command]:
    """The commands of a bash or console block."""
    text = block.text.replace('\\\n', ' ')
    if block.language == 'bash':
        lines = (line.strip() for line in text.splitlines())
        return [Command(block, line) for line in lines if line and not line.startswith('#')]
    found: list[Command] = []
    for line in text.splitlines():
        if line.startswith('$ '):
            found.append(Command(block, line[2:].strip(), ''))
        elif not found:
            raise PageError(f'{block.place}: a console block begins with a command.')
        else:
            found[-1].expected += line + '\n'
    return found


def words(command: str) -> list[str]:
    """The words of a command, comments left out; of a synopsis, those that are not in brackets, first choices."""
    parts = shlex.split(without_brackets(command), comments=True)
    return [re.sub(r'^(\w[\w.-]*)(\|[\w.-]+)+$', r'\1', part).removesuffix('...') for part in parts]


def without_brackets(command: str) -> str:
    """Leave out `` [--flag [VALUE]]``, not ``key="[a,b]"``."""
    while (stripped := re.sub(r'(?<=\s)\[[^\[\]"]*\](?=[\s\].]|$)\.*', '', command)) != command:
        command = stripped
    return command
