"""`verdicts.json`, and whether a verdict got worse: a study as a regression test."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluate.claims.formats import FORMAT, WORDS, counts, to_data
from evaluate.claims.judge import Verdict
from study.errors import StudyError
from study.files import write_json
from study.jsonfile import read_json_object

FILE = "verdicts.json"
# From best to worst; `not reproduced` is no step of it, but another answer.
_STEPS = ("reproduced", "differs in definition", "cannot tell", "drawn", "open")
_SETTLED = ("reproduced", "differs in definition", "not reproduced")


@dataclass(frozen=True)
class Worse:
    """A claim whose verdict got worse; `now` is None where the claim is no longer there."""

    claim: str
    before: str
    now: str | None
    why: str

    def __str__(self) -> str:
        now = self.now or "no longer among the claims"
        return f"{self.claim}: {self.before} before, {now} now" + (self.why and f" ({self.why})")


def write_verdict_data(folder: Path, study: str, command: str, verdicts: list[Verdict]) -> None:
    """Write `verdicts.json`."""
    about = {"format": FORMAT, "study": study, "command": command, "counts": counts(verdicts)}
    write_json(folder / FILE, about | {"verdicts": to_data(verdicts)})


def read_verdicts(folder: Path) -> list[dict[str, Any]]:
    """What a committed `verdicts.json` says; StudyError where there is none or it is another."""
    path = folder / FILE
    if not path.is_file():
        raise StudyError(f"{path}: there are no committed verdicts to check against")
    found = read_json_object(path)
    if found.get("format") != FORMAT:
        raise StudyError(f"{path}: format {found.get('format')!r}, {FORMAT} is wanted")
    verdicts = found.get("verdicts")
    if not isinstance(verdicts, list):
        raise StudyError(f"{path}: verdicts: a list is wanted")
    for number, verdict in enumerate(verdicts):
        known = isinstance(verdict, dict) and isinstance(verdict.get("claim"), str)
        if not known or verdict.get("verdict") not in WORDS:
            raise StudyError(
                f"{path}: verdicts.{number}: an object with claim and verdict (one of "
                f"{', '.join(WORDS)}) is wanted"
            )
    return verdicts


def compare(committed: list[dict[str, Any]], now: list[Verdict]) -> list[Worse]:
    """The claims whose verdict is worse than the committed one; a new claim is not.

    Worse is a step down from reproduced over differs in definition, cannot tell and drawn to open;
    one of the first three that becomes not reproduced; not reproduced that is settled no more; and
    a claim that vanished. What was open, or a picture for people, is judged for the first time:
    whatever comes out, it is a finding.
    """
    by_id = {verdict.claim.id: verdict for verdict in now}
    worse = []
    for old in committed:
        new = by_id.get(old["claim"])
        if new is None:
            worse.append(Worse(old["claim"], old["verdict"], None, ""))
        elif is_worse(old["verdict"], new.verdict):
            worse.append(Worse(old["claim"], old["verdict"], new.verdict, new.why))
    return worse


def is_worse(before: str, now: str) -> bool:
    """Whether one word is worse than another."""
    if before == now:
        return False
    if now == "not reproduced":
        return before not in ("open", "drawn")
    if before == "not reproduced":
        return now not in _SETTLED
    return _STEPS.index(now) > _STEPS.index(before)
