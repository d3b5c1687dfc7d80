"""What a teacher says: lessons for a simulator that learns to imitate it.

A lesson is a description, a text, and at each of its evidence tokens a distribution over the strengths 0..10: the
teacher's or, where the description is of a rule of text, the truth. Those of the train split are learnt from; those of
the valid split are of held-out neurons, and are what the student is judged on.

T evidence tokens of a text, N strengths.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from neuron_descriptions.common.logs import Progress, logger
from neuron_descriptions.common.storage import read_table, read_tables, write_table
from neuron_descriptions.common.streams import generator, key
from neuron_descriptions.concepts.rules import learnt_rules
from neuron_descriptions.concepts.rules_of_text import Rule
from neuron_descriptions.concepts.wording import NO_PATTERN
from neuron_descriptions.config.training import Distillation, Training
from neuron_descriptions.corpus.reading import Text, read_texts
from neuron_descriptions.descriptions.tokens import describe_tokens
from neuron_descriptions.models.loading import load_tokenizer
from neuron_descriptions.simulators.opening import Job, load_simulator
from neuron_descriptions.simulators.simulating import OUTPUTS, LogitSimulator, Task
from neuron_descriptions.training.fine_tuning import Checkpoints
from neuron_descriptions.training.material import SEEN, Examples, Feature, Material, Taught, read_material
from neuron_descriptions.training.tables import LESSONS

AT_ONCE = 64  # descriptions between two records of a teacher's answers
# Keys of the section that say what is asked.
ASKS = {
    "descriptions", "sequences", "rules_share", "candidates_share", "others_share", "judged_neurons",
    "judged_sequences",
}  # fmt: skip


@dataclass(slots=True, frozen=True)
class Asked:
    """A description to apply to texts of one split."""

    place: tuple[int | None, int | None, str | None]
    candidate: int | None
    description: str
    split: str
    seq_ids: list[int]
    truth: list[NDArray[np.int64]] | None = None
    """Strengths (T) of each text, where they are known: then no teacher is asked."""


class Drawn(Examples):
    """What is learnt from, by number: a description and several texts, a function of (seed, number) alone."""

    def __init__(self, material: Material, rules: list[Rule], settings: Distillation, seed: int):
        rules_share, candidates_share = settings.rules_share, settings.candidates_share
        shares = Training(base=settings.base, rules_share=rules_share, candidates_share=candidates_share)
        super().__init__(material, rules, shares, seed)
        self.sequences, self.others_share = settings.sequences, settings.others_share

    def asked(self, number: int) -> Asked | None:
        """None where a neuron's peaks have no text."""
        draw = generator(self.seed, "lesson", number)
        if draw.random() < self.settings.rules_share:
            return self._asked_rule(draw)
        feature = self._any(draw)
        seen = np.sort(draw.choice(len(feature.peaks), min(len(feature.peaks), int(draw.integers(4, SEEN + 1))), False))
        description = self._describe(feature, seen, draw)
        seq_ids = []
        for _ in range(self.sequences):
            of = self._any(draw) if draw.random() < self.others_share else feature
            rows = of.rows[draw.choice(list(of.rows))]
            seq_ids.append(rows[int(draw.integers(len(rows)))].seq_id)
        return Asked(feature.place, None, description, "train", seq_ids) if description else None

    def _any(self, draw: np.random.Generator) -> Feature:
        return self.features[int(draw.integers(len(self.features)))]

    def _asked_rule(self, draw: np.random.Generator) -> Asked:
        which = int(draw.integers(len(self.rules)))
        rule, where = self.rules[which], np.flatnonzero(self.holds[which])
        seq_ids = []
        for _ in range(self.sequences):
            anywhere = len(where) == 0 or draw.random() < 0.3
            seq_ids.append(self.seq_ids[int(draw.integers(len(self.seq_ids)) if anywhere else draw.choice(where))])
        truth = [rule.strengths(self.material.tokens[seq_id]) for seq_id in seq_ids]
        said = rule.say[int(draw.integers(len(rule.say)))]
        return Asked((None, None, None), None, said, "train", seq_ids, truth)


def judged(train: Material, valid: Material, settings: Distillation, seed: int) -> list[Asked]:
    """The rows that a student is judged on: of held-out neurons on text of the valid split. Their descriptions, the
    run's candidates and one of the tokens, come from train exemplars."""
    learnt = {f.place: f for f in train.features}
    features = sorted(
        (f for f in valid.features if f.held_out and f.place in learnt), key=lambda f: key(seed, "judged", *f.place)
    )
    rows = []
    for feature in features[: settings.judged_neurons]:
        known = learnt[feature.place]
        said = [*known.candidates, describe_tokens(known.peaks[:SEEN]) or NO_PATTERN]
        seq_ids = [e.seq_id for e in feature.spread(settings.judged_sequences)]
        rows += [
            Asked(feature.place, candidate, description, "valid", seq_ids)
            for candidate, description in enumerate(dict.fromkeys(said))
            if description != NO_PATTERN
        ]
    return rows


def teach(
    taught: Taught, teacher: Job, settings: Distillation, seed: int, checkpoints: Checkpoints, output: str
) -> None:
    """Ask a teacher, and write its table of LESSONS. What it said before the job was killed is not asked again.

    taught: files that lessons are made from. Raises ValueError where there are too few neurons, or the teacher's
    predictions cannot be read as shares.
    """
    tokenizer = load_tokenizer(teacher.subject_folder)  # the subject's: rules hold of its tokens
    train = read_material(taught.exemplars, taught.corpus["train"], "train", tokenizer, False, taught.descriptions)
    valid = read_material(taught.exemplars, taught.corpus["valid"], "valid", tokenizer, True)
    drawn = Drawn(train, learnt_rules(taught.rules), settings, seed)
    rows = judged(train, valid, settings, seed)
    if not (drawn.features and rows):
        raise ValueError(
            f"distillation: of the run's neurons, {len(drawn.features)} signs are to learn from and {len(rows)} rows of"
            " held-out ones (a tenth is) are to judge by; choose more neurons"
        )
    asked = [*rows, *filter(None, map(drawn.asked, range(settings.descriptions)))]
    logger.info(
        "%d descriptions to learn from, %d rows of held-out neurons to judge by", len(asked) - len(rows), len(rows)
    )
    settled = teacher.settings.model_dump_json() + settings.model_dump_json(include=ASKS)
    held = [path for folder in (teacher.folder, teacher.subject_folder) for path in sorted(Path(str(folder)).iterdir())]
    files = [*map(str, filter(Path.is_file, held)), *taught.files, *filter(None, [teacher.prompt])]
    kept = checkpoints.path("lessons-", seed, settled, files)
    texts = {"train": train.texts, "valid": valid.texts}
    simulator, parts = None, []
    shown = Progress(sum(len(a.seq_ids) for a in asked), "texts", 20.0)
    for number, at in enumerate(range(0, len(asked), AT_ONCE)):
        some = asked[at : at + AT_ONCE]
        part = f"{kept}-{number}.parquet"
        if there := Path(part).is_file():
            read_table(part, LESSONS)
        else:
            simulator = simulator or _with_shares(teacher)
            write_table(_answered(some, texts, simulator), part)
        parts.append(part)
        shown.advance(sum(len(a.seq_ids) for a in some), free=there)
    write_table(read_tables(parts, LESSONS).combine_chunks(), output)
    for part in parts:
        Path(part).unlink()


def _with_shares(teacher: Job) -> LogitSimulator:
    simulator = load_simulator(teacher)
    if not isinstance(simulator, LogitSimulator):
        raise ValueError(
            f"distillation.teacher: one of kind `{teacher.settings.kind}` predicts no shares; name another"
        )
    return simulator


def _answered(asked: list[Asked], texts: dict[str, dict[int, Text]], simulator: LogitSimulator) -> pa.Table:
    tasks = [Task(a.description, texts[a.split][seq_id]) for a in asked if a.truth is None for seq_id in a.seq_ids]
    said = iter(simulator.distributions(tasks))
    rows = []
    for a in asked:
        names = dict(zip(("layer", "neuron", "sign"), a.place))
        for i, seq_id in enumerate(a.seq_ids):
            shares_TN = np.zeros((len(texts[a.split][seq_id].evidence), OUTPUTS), np.float32)
            if a.truth is None:
                found_TN = next(said).numpy()
                shares_TN[:, : found_TN.shape[1]] = found_TN
            else:
                shares_TN[np.arange(len(shares_TN)), a.truth[i]] = 1
            rows.append(
                {
                    **names, "candidate": a.candidate, "description": a.description, "split": a.split, "seq_id": seq_id,
                    "shares": shares_TN.astype(np.float16).astype(np.float32).ravel(),
                }
            )  # fmt: skip
    return pa.Table.from_pylist(rows, schema=LESSONS)


@dataclass(slots=True, frozen=True)
class Lesson:
    """A row of LESSONS, with its text."""

    place: tuple[int | None, int | None, str | None]
    candidate: int | None
    description: str
    seq_id: int
    text: Text
    shares: NDArray[np.float32]
    """(T, N)."""

    @property
    def expected(self) -> NDArray[np.float64]:
        """Strengths (T) that the teacher expects."""
        return self.shares.astype(np.float64) @ np.arange(OUTPUTS)


def read_lessons(path: str, split: str, corpus: str) -> list[Lesson]:
    """Those of a split, in order; corpus: its text. Raises ValueError where a table cannot be read."""
    table = read_table(path, LESSONS, [("split", "==", split)])
    lists = table["shares"].combine_chunks()
    values, ends = lists.values.to_numpy(), lists.offsets.to_numpy()
    columns = [table[name].to_pylist() for name in ("layer", "neuron", "sign", "candidate", "description", "seq_id")]
    texts = read_texts(corpus, set(columns[-1]))
    return [
        Lesson((layer, neuron, sign), candidate, said, seq_id, texts[seq_id], values[a:b].reshape(-1, OUTPUTS))
        for layer, neuron, sign, candidate, said, seq_id, a, b in zip(*columns, ends[:-1], ends[1:])
    ]
