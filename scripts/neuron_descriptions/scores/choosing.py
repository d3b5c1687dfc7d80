"""Which candidate describes a feature, where no simulator says it: the one that a scorer's judge finds best, the list
of concepts whose own predictions match best on valid, or the only one.

The choice stands in the table that a simulator's scores stand in, so that no later stage asks who made it.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from neuron_descriptions.common.logs import logger
from neuron_descriptions.common.sides import by_side
from neuron_descriptions.common.storage import Row, read_parquet, read_tables, write_table
from neuron_descriptions.common.vocabulary import SIGNS, SPLITS
from neuron_descriptions.concepts.execution import ConceptList, read_list
from neuron_descriptions.concepts.predicates import Predicate, Reader
from neuron_descriptions.concepts.vocabulary import read_vocabulary
from neuron_descriptions.concepts.wording import NO_PATTERN
from neuron_descriptions.config.scores import Scores
from neuron_descriptions.descriptions.tables import DESCRIPTIONS, FOUND_CONCEPTS
from neuron_descriptions.harvest.exemplars import KINDS
from neuron_descriptions.models.loading import load_tokenizer, token_strings
from neuron_descriptions.scores.chance import Nulls
from neuron_descriptions.scores.concepts import direct_score
from neuron_descriptions.scores.evidence import Evidence, split_sizes
from neuron_descriptions.scores.formulas import choose
from neuron_descriptions.scores.simulation import Scorer
from neuron_descriptions.scores.tables import SCORES
from neuron_descriptions.simulators.simulating import Task

Key = tuple[int, str]  # neuron, sign


class NoSimulator:
    """Where none is asked: the token baseline needs no predictions."""

    tokens = shared_tokens = 0

    def simulate(self, tasks: list[Task]) -> list[list[float]]:
        """Raises RuntimeError: nothing may come to this."""
        raise RuntimeError(f"{len(tasks)} sequences were to be simulated in a run without a simulator")


class _ByConcepts:
    """Direct scores on the valid sequences that a score is made on."""

    def __init__(self, inputs: Mapping[str, Any], evidence: Evidence, numbers: dict[str, int]):
        self.evidence, self.numbers = evidence, numbers
        self.reader = Reader(read_vocabulary(str(inputs["rules"])))
        self.tokenizer = load_tokenizer(str(inputs["subject"]))
        self.held: dict[int, list[set[Predicate]]] = {}
        self.lists: dict[Key, dict[str, ConceptList]] = {}
        for row in read_tables(_files(inputs["concepts"]), FOUND_CONCEPTS).to_pylist():
            if row["sentence"] != NO_PATTERN:
                found = self.lists.setdefault((row["neuron"], row["sign"]), {})
                found.setdefault(row["sentence"], read_list(row["parts"]))

    def choose(self, neuron: int, sign: str, texts: dict[int, str]) -> int:
        """The candidate with the best direct score; the first where none has one: what cannot be executed has none."""
        sequences = self.evidence.scored("valid", neuron, sign, **self.numbers)
        for sequence in sequences:
            if sequence.seq_id not in self.held:
                self.held[sequence.seq_id] = self.reader.held(token_strings(self.tokenizer, sequence.text.evidence))
        true = np.concatenate([np.zeros(0), *(q.one_side(sign) for q in sequences)])
        scores = {}
        for number, text in texts.items():
            if (found := self.lists.get((neuron, sign), {}).get(text)) is not None:
                predicted = [found.predict_held(self.held[q.seq_id]) for q in sequences]
                score = direct_score(np.concatenate([np.zeros(0), *predicted]), true)
                scores[number] = float("nan") if score is None else score
        best = choose(scores)
        return min(texts) if best is None else best


def _files(path: str | list[str]) -> list[str]:
    return [path] if isinstance(path, str) else list(path)


def _by_scorer(paths: list[str], choice: str) -> dict[Key, int]:
    """Candidates that a scorer's tables name. Raises ValueError where a table is of another scorer."""
    found = {}
    for path in paths:
        table = read_parquet(path)
        if (table.schema.metadata or {}).get(b"scorer") != choice.encode():
            raise ValueError(f"{path} is no table of the scorer {choice}; delete it and run again")
        for row in table.select(["neuron", "sign", "candidate"]).to_pylist():
            if row["candidate"] is not None:
                found[row["neuron"], row["sign"]] = row["candidate"]
    return found


def chosen_rows(
    neurons: list[int],
    layer: int,
    inputs: Mapping[str, Any],
    choice: str,
    settings: Scores,
    seed: int,
) -> list[Row]:
    """Rows of SCORES: candidates without a number, the chosen one on test too, and the token baseline.

    inputs, each a file or several: descriptions, exemplars, statistics, the splits of the corpus, nulls (a file), and
    for "concepts" also concepts (FOUND_CONCEPTS), rules and subject; for a scorer `judged`, its table. choice: see
    Config.choice. Raises ValueError where the scorer has no word on a described
    feature.
    """
    corpus: dict[str, Any] = {split: inputs[split] for split in SPLITS}
    evidence = Evidence(list(inputs["exemplars"]), list(inputs["statistics"]), corpus, neurons)
    nulls = Nulls(None, inputs["nulls"], 0, seed)
    scorer = Scorer(NoSimulator(), "", evidence, nulls, settings, split_sizes(corpus), seed)
    numbers = {kind: getattr(settings, kind) for kind in KINDS}
    concepts = _ByConcepts(inputs, evidence, numbers) if choice == "concepts" else None
    judged = _by_scorer(_files(inputs["judged"]), choice) if inputs.get("judged") else {}
    candidates = by_side(read_tables(_files(inputs["descriptions"]), DESCRIPTIONS, [("neuron", "in", neurons)]))
    rows: list[Row] = []
    for neuron, sign in ((neuron, sign) for neuron in neurons for sign in SIGNS if (neuron, sign) in candidates):
        texts = {c["candidate"]: c["description"] for c in candidates[neuron, sign] if c["status"] == "ok"}
        rows += scorer.score(layer, neuron, sign, [])[0]
        if not texts:
            continue
        if concepts is not None:
            best = concepts.choose(neuron, sign, texts)
        elif inputs.get("judged"):
            if (neuron, sign) not in judged:
                raise ValueError(
                    f"{inputs['judged']} chooses nothing for neuron {neuron}, {sign}; delete it, run again"
                )
            best = judged[neuron, sign]
        else:
            best = min(texts)
        who = {"layer": layer, "neuron": neuron, "sign": sign, "kind": "candidate"}
        rows += [
            who | {"candidate": number, "description": text, "split": split, "chosen": number == best}
            for number, text in texts.items()
            for split in (("valid", "test") if number == best else ("valid",))
        ]
    return rows


def write_choice(rows: list[Row], choice: str, output: str) -> None:
    """Write a part's rows of SCORES, as chosen_rows makes them."""
    logger.info("%d descriptions chosen by: %s", sum(r["chosen"] and r["split"] == "test" for r in rows), choice)
    write_table(pa.Table.from_pylist(rows, schema=SCORES), output)
