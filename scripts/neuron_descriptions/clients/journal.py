"""Answers kept as they come, so that a killed job asks for nothing twice, and what they cost, under a ceiling."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from neuron_descriptions.clients.base import Answer, Client, Request
from neuron_descriptions.clients.dialects import MOST_TOKENS, clean


def failed(answer: Answer) -> bool:
    """Whether it is a failed request, which were once kept as answers: nothing said, and nothing counted."""
    return not (answer.text or answer.prompt_tokens or answer.completion_tokens or answer.refused)


def sound(answer: Answer) -> Answer:
    """Without what no table can hold, which was once kept: half characters, and counts beyond all models'."""
    asked, said = (n if 0 <= n <= MOST_TOKENS else 0 for n in (answer.prompt_tokens, answer.completion_tokens))
    return Answer(clean(answer.text), asked, said, finished=answer.finished, refused=answer.refused)


class Journal:
    """Answers of a layer by the hash of what was asked: a .jsonl file per part, one line per group, written by that
    part's job alone and read by all of the layer's."""

    def __init__(self, path: str, groups: set[int], code: str = ""):
        """path: the part's file; groups: those whose answers may be wanted; code: stands for what made the answers."""
        self.path, self.code = Path(path), code
        self.answers: dict[str, Answer] = {}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        for file in sorted(self.path.parent.glob("*.jsonl")):
            for line in self._lines(file):
                if line["group"] in groups:
                    answers = {key: Answer(**answer) for key, answer in line["answers"].items()}
                    self.answers |= {key: sound(answer) for key, answer in answers.items() if not failed(answer)}
        self._cut_tail()

    @staticmethod
    def _lines(file: Path) -> Iterator[dict[str, Any]]:
        with open(file, encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.endswith("\n"):  # else a killed job's last, or another job's that is being written
                    try:
                        yield json.loads(line)
                    except ValueError:
                        raise ValueError(f"{file}, line {number}, is damaged; delete the line and run again") from None

    def _cut_tail(self) -> None:
        """Remove what a killed job left of a line."""
        if self.path.exists() and not (written := self.path.read_bytes()).endswith(b"\n"):
            with open(self.path, "r+b") as file:
                file.truncate(written.rfind(b"\n") + 1)

    def _key(self, payload: dict[str, Any]) -> str:
        return sha256(json.dumps([self.code, payload], sort_keys=True).encode()).hexdigest()

    def answer(self, client: Client, requests: list[Request], done: Callable[[dict[int, Answer], bool], None]) -> None:
        """Have the client answer what is not known yet; hand all answers to `done`, with whether they are fresh."""
        keys = [self._key(payload) for payload in client.payloads(requests)]
        known = {i: self.answers[key] for i, key in enumerate(keys) if key in self.answers}
        asked = [i for i in range(len(requests)) if i not in known]
        with open(self.path, "a", encoding="utf-8") as file:

            def keep(answers: dict[int, Answer]) -> None:
                found = {asked[i]: answer for i, answer in answers.items()}
                fresh = {keys[i]: asdict(answer) for i, answer in found.items()}
                line = {"group": requests[next(iter(found))].group, "answers": fresh}
                file.write(json.dumps(line) + "\n")
                file.flush()
                done(found, True)

            if known:
                done(known, False)
            if asked:
                client.answer([requests[i] for i in asked], keep)

    def remove(self) -> None:
        """Forget the part's answers."""
        self.path.unlink(missing_ok=True)


class OverBudget(ValueError):
    """The next request could pass the ceiling."""


class Ledger:
    """Dollars spent, and promised to requests that are on their way, by all jobs of a run: an SQLite file."""

    def __init__(self, path: str, part: str, budget: float | None):
        """part: whose requests these are. What an earlier, killed job of this part had promised counts as spent: nobody
        knows whether those requests were billed."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self.part, self.budget = part, budget
        self.file = sqlite3.connect(path, timeout=60, isolation_level=None)
        self.file.execute("PRAGMA synchronous = OFF")  # a killed process loses nothing, a power cut may
        self.file.execute("CREATE TABLE IF NOT EXISTS parts (part TEXT PRIMARY KEY, spent REAL, promised REAL)")
        self.file.execute(
            "INSERT INTO parts VALUES (?, 0, 0)"
            " ON CONFLICT (part) DO UPDATE SET spent = spent + promised, promised = 0",
            (part,),
        )

    def spent(self) -> float:
        """By all jobs of the run."""
        total: float = self.file.execute("SELECT sum(spent) FROM parts").fetchone()[0]
        return total

    def reserve(self, cost: float) -> bool:
        """Promise up to `cost` to a request; False where that could pass the ceiling unless others turn out cheaper.
        Raises OverBudget where it could anyway."""
        budget = float("inf") if self.budget is None else self.budget
        promised = self.file.execute(
            "UPDATE parts SET promised = promised + ? WHERE part = ?"
            " AND (SELECT sum(spent) + sum(promised) FROM parts) + ? <= ?",
            (cost, self.part, cost, budget),
        )
        if promised.rowcount == 0 and (spent := self.spent()) + cost > budget:
            raise OverBudget(
                f"descriptions.explainer.limits.budget: ${spent:.4f} of ${budget:.4f} are spent, and the next request"
                f" may cost up to ${cost:.4f}; raise it and run again: finished answers are kept"
            )
        return promised.rowcount > 0

    def settle(self, promised: float, spent: float) -> None:
        """A promised request has cost `spent`."""
        self.file.execute(
            "UPDATE parts SET promised = max(0, promised - ?), spent = spent + ? WHERE part = ?",
            (promised, spent, self.part),
        )

    def close(self) -> None:
        self.file.close()


@contextmanager
def open_ledger(path: str, part: str, budget: float | None) -> Iterator[Ledger]:
    """A part's ledger, closed at the end."""
    ledger = Ledger(path, part, budget)
    try:
        yield ledger
    finally:
        ledger.close()
