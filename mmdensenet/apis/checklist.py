"""Write a reporting checklist for a study, with the known items filled in."""

from collections.abc import Mapping
from pathlib import Path

from mmengine.config import Config

from mmdensenet.analysis.checklists import CHECKLISTS, write_checklist
from mmdensenet.errors import UserError
from mmdensenet.output import output_file
from mmdensenet.results.bootstrap import Resampling
from mmdensenet.results.class_metrics import compute_metrics
from mmdensenet.results.decided import decisions_of
from mmdensenet.results.scores import Scores

from .fit.judge import facts_of, judge
from .report import open_subject
from .scoring import run_test
from .study_facts import TEST_PART, study_facts


def make_checklist(
    config: str | Config,
    checkpoint: str,
    name: str,
    out: str | Path,
    *,
    predictions: str | Scores | None = None,
    known: Mapping[str, str] | None = None,
    bootstrap: int = 1000,
    device: str | None = None,
    seed: int = 0,
    cfg_options: dict | None = None,
) -> None:
    """Write 'claim' (CLAIM 2024), 'tripod' (TRIPOD+AI) or 'stard' (STARD 2015) as Markdown.

    What the config, the weights and the test say is filled in; what only the author knows is marked so.

    Args:
        config, checkpoint, predictions, bootstrap, device, seed, cfg_options: as for
            :func:`mmdensenet.apis.report.make_report`.
        known: sentences in the place of those of :func:`mmdensenet.apis.study_facts.study_facts`, by their names.

    Raises:
        UserError: for what the user can put right.
    """
    if name not in CHECKLISTS:
        raise UserError(f'checklist={name}: choose {", ".join(CHECKLISTS)}.')
    out = output_file(Path(out), ('.md',))
    cfg, model, dataset = open_subject(config, checkpoint, device, cfg_options)
    scores, _ = run_test(cfg, checkpoint, model, dataset, predictions)
    decisions = None if scores.augmented else decisions_of(model, checkpoint)
    overall = []
    if decisions is None:
        overall, _ = compute_metrics(scores, Resampling(len(scores), scores.groups, bootstrap, seed))
    else:
        judged = judge(scores, decisions, resamplings=bootstrap, seed=seed)
        known = facts_of(judged, bootstrap, TEST_PART) | dict(known or {})
    facts = study_facts(cfg, model, checkpoint, scores, overall, bootstrap, decisions, known)
    out.write_text(write_checklist(name, facts), encoding='utf-8')
