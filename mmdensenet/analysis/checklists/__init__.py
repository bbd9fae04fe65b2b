"""Checklists for reports on studies, filled in with the known facts; the items are in our own words.

CLAIM 2024: Tejani et al., Radiology: Artificial Intelligence 6(4), 2024, doi:10.1148/ryai.240300. TRIPOD+AI: Collins et
al., BMJ 385, 2024, doi:10.1136/bmj-2023-078378. STARD 2015: Bossuyt et al., BMJ 351, 2015, doi:10.1136/bmj.h5527.
Numbers, order and topics were compared with copies of the published tables in November 2026: 44 items of CLAIM, 52 of
TRIPOD+AI (table 2), and the first 17 of the 34 of STARD (the table in BMJ Open 6:e012799), whose others are not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .claim import CLAIM
from .stard import STARD
from .tripod import TRIPOD

#: marks an answer that only the author knows
AUTHOR = 'author'


@dataclass(frozen=True)
class Checklist:
    """A title with its source, and sections of items: (number, what is asked for, names of facts that answer it)."""

    title: str
    source: str
    sections: Sequence[tuple[str, Sequence[tuple[str, str, str]]]]


CHECKLISTS = {
    'claim': Checklist('CLAIM 2024', 'doi:10.1148/ryai.240300', CLAIM),
    'tripod': Checklist('TRIPOD+AI', 'doi:10.1136/bmj-2023-078378', TRIPOD),
    'stard': Checklist('STARD 2015', 'doi:10.1136/bmj.h5527', STARD),
}


def write_checklist(name: str, facts: Mapping[str, str]) -> str:
    """Markdown with the known facts of each item, and 'author' where the author has to answer, or both."""
    checklist = CHECKLISTS[name]
    lines = [
        f'# {checklist.title}',
        '',
        f'Source of the items, here in other words: {checklist.source}. What stands under "answer" was filled in by '
        f'mmdensenet from the config, the weights and the test; **{AUTHOR}** marks what only the author knows.',
    ]
    for section, items in checklist.sections:
        lines += ['', f'## {section}', '', '| item | asked for | answer |', '| --- | --- | --- |']
        for number, asked, keys in items:
            answers = [facts[key] for key in keys.split() if facts.get(key)]
            if not answers or AUTHOR in keys.split():
                answers.append(f'**{AUTHOR}**')
            lines.append(f'| {number} | {asked} | {" ".join(map(_cell, answers))} |')
    return '\n'.join(lines) + '\n'


def _cell(text: str) -> str:
    return text.replace('|', '\\|').replace('\n', ' ')
