"""A simulator that imitates another one: a student, of the first layers of a model, learns a teacher's lessons.

At every evidence token the student learns the teacher's distribution over 0..10, by cross-entropy over 11 outputs. It
may have another tokenizer than the subject: then each of its tokens learns what the teacher says of the strongest of
the subject's tokens that it shares bytes with.

B examples of a batch, S tokens of an example, E places of a batch that are read, N outputs, T evidence tokens.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from neuron_descriptions.common.logs import logger
from neuron_descriptions.common.storage import whole
from neuron_descriptions.common.streams import generator, key
from neuron_descriptions.config.training import Distillation
from neuron_descriptions.models.adapters import BINS, LAYERS, adapter_sha256
from neuron_descriptions.models.cutting import cut, layers_of
from neuron_descriptions.models.loading import load_tokenizer, tokenizer_fingerprint
from neuron_descriptions.simulators.expectation import Row
from neuron_descriptions.simulators.retokenizing import Retokenizer, SameTokens
from neuron_descriptions.simulators.simulating import OUTPUTS, FinetunedFormat, FinetunedSimulator, Task
from neuron_descriptions.training.fine_tuning import (
    Checkpoints,
    Fit,
    files_of,
    load_base,
    mixed_precision,
    passes,
    save_adapter,
    with_bins_apart,
    with_low_rank,
)
from neuron_descriptions.training.halves import Halves
from neuron_descriptions.training.likeness import HeldOut, card, heard_rules
from neuron_descriptions.training.teaching import Lesson, read_lessons

NOT_LEARNT = {"base", "teacher", "rules"}  # keys of the section that are files, or say where


def student(folder: str, settings: Distillation, threads: int, seed: int) -> Any:
    """A causal model of the base's first layers with low-rank adapters and 11 outputs. These begin as the teacher's
    where it is the base, else at zero. Raises ValueError where the base cannot be cut."""
    model = load_base(folder, "bfloat16", threads, None)
    if settings.layers is not None:
        model = cut(model, settings.layers)
    head = model.get_output_embeddings()
    model.config.tie_word_embeddings = False
    bins = torch.nn.Linear(head.in_features, OUTPUTS, bias=False, device=head.weight.device)
    same = settings.base == settings.teacher.model and settings.teacher.kind == "finetuned"
    with torch.no_grad():
        bins.weight.copy_(head.weight[:OUTPUTS] if same else torch.zeros(OUTPUTS, head.in_features))
    model.set_output_embeddings(bins)
    model = with_low_rank(model, settings.rank, seed, settings.adapted_blocks)
    bins.weight.requires_grad_(True)
    return model


def targets(row: Row, shares_TN: NDArray[np.float32]) -> NDArray[np.float32]:
    """What each of a row's reads learns (R, N): with a tokenizer of its own the distribution of the strongest evidence
    token that it belongs to; all on 0 where it belongs to none."""
    if row.groups is None:
        return shares_TN
    found_RN = np.zeros((len(row.reads), OUTPUTS), np.float32)
    found_RN[:, 0] = 1
    weakest_first = np.argsort(shares_TN @ np.arange(OUTPUTS), kind="stable")
    for token in weakest_first.tolist():
        found_RN[row.groups[token]] = shares_TN[token]
    return found_RN


def batch_of(rows: list[Row], lessons: list[Lesson], device: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(ids_BS, batch rows (E), places (E), shares_EN): padding on the right, which a causal model never sees."""
    inputs = [[*row.prefix, *row.ids] for row in rows]
    longest = max(map(len, inputs))
    ids_BS = torch.tensor([ids + [0] * (longest - len(ids)) for ids in inputs], device=device)
    rows_E = np.repeat(np.arange(len(rows)), [len(row.reads) for row in rows])
    places_E = np.concatenate([len(row.prefix) + np.array(row.reads, int) for row in rows])
    shares_EN = np.concatenate([targets(row, lesson.shares) for row, lesson in zip(rows, lessons)])
    return ids_BS, *(torch.as_tensor(x, device=device) for x in (rows_E, places_E, shares_EN))  # type: ignore[return-value]


class Learning:
    """Lessons in the order that they are learnt in, and the gradients of a step."""

    def __init__(self, lessons: list[Lesson], form: FinetunedFormat, texts: Any, settings: Distillation, seed: int):
        """texts: gives sequences in the student's tokens."""
        self.lessons, self.form, self.texts, self.settings, self.seed = lessons, form, texts, settings, seed
        self.halves: Halves | None = None
        self.frozen: dict[int, Tensor] = {}  # of a lesson, by its id, what the frozen half gives

    def halve(self, model: Any) -> None:
        """From now on compute what the layers below the adapted ones give once for each lesson, where that can be."""
        last, row = self.settings.adapted_blocks, self.row(self.lessons[0])
        if last is None or last >= model.config.get_text_config(decoder=True).num_hidden_layers:
            return
        try:
            halves = Halves(model, last)
        except ValueError as error:
            logger.info("all layers are computed in every step: %s", error)
            return
        with mixed_precision(model.device):
            self.halves = halves if halves.agree([*row.prefix, *row.ids]) else None
        if self.halves is None:
            logger.info("all layers are computed in every step: this kind of model has no halves")

    def row(self, lesson: Lesson) -> Row:
        """What the student reads."""
        return self.form.row(Task(lesson.description, lesson.text), self.texts)

    def logits(self, model: Any, lessons: list[Lesson], rows: list[Row], ids_BS: Tensor) -> Tensor:
        """(B, S, N)."""
        if self.halves is None:
            logits_BSV: Tensor = model(input_ids=ids_BS, use_cache=False).logits
            return logits_BSV
        for lesson, row in zip(lessons, rows):
            if id(lesson) not in self.frozen:
                self.frozen[id(lesson)] = self.halves.frozen([*row.prefix, *row.ids])
        return self.halves.logits([self.frozen[id(lesson)] for lesson in lessons])

    def batch(self, step: int) -> list[Lesson]:
        """A step's lessons: all are learnt once, in an order of its own, before one is learnt again."""
        size, count = self.settings.batch_size, len(self.lessons)
        numbers = range(step * size, (step + 1) * size)
        orders = {turn: self._order(turn) for turn in {n // count for n in numbers}}
        return [self.lessons[orders[n // count][n % count]] for n in numbers]

    def _order(self, turn: int) -> NDArray[np.int64]:
        return generator(self.seed, "order of lessons", turn).permutation(len(self.lessons))

    def gradients(self, model: Any, step: int) -> float:
        """Add those of a step, several passes where it does not fit into one; the mean loss of its tokens."""
        lessons = self.batch(step)
        rows = [self.row(lesson) for lesson in lessons]
        order = sorted(range(len(rows)), key=lambda i: len(rows[i].prefix) + len(rows[i].ids))
        rows, lessons = [rows[i] for i in order], [lessons[i] for i in order]
        read, total = sum(len(row.reads) for row in rows), 0.0
        for some in passes([len(row.prefix) + len(row.ids) for row in rows], self.settings.batch_tokens):
            ids_BS, rows_E, places_E, shares_EN = batch_of(rows[some], lessons[some], model.device)
            with mixed_precision(ids_BS.device):
                logits_EN = self.logits(model, lessons[some], rows[some], ids_BS)[rows_E, places_E].float()
            loss = torch.nn.functional.cross_entropy(logits_EN, shares_EN, reduction="sum") / max(read, 1)
            loss.backward()
            total += float(loss.detach())
        return total


def distil_simulator(
    folder: str,
    taught: dict[str, Any],
    settings: Distillation,
    about: dict[str, Any],
    seed: int,
    threads: int,
    checkpoints: Checkpoints,
    output: str,
) -> None:
    """Train a student on a teacher's lessons, and write it with its card and curve.

    folder: the base; taught: files `lessons`, `subject` (folder), `train` and `valid` (corpus tables), `exemplars`
    (tables), `rules`; about: facts for the card. Raises ValueError where the base cannot be cut.
    """
    tokenizer, subject = load_tokenizer(folder), load_tokenizer(taught["subject"])
    same = tokenizer_fingerprint(tokenizer) == tokenizer_fingerprint(subject)
    texts = SameTokens() if same else Retokenizer(subject, tokenizer)
    lessons = {split: read_lessons(taught["lessons"], split, taught[split]) for split in ("train", "valid")}
    held_out = HeldOut.of(lessons["valid"], taught["exemplars"], taught["valid"], subject)
    few = held_out.first(settings.validation_neurons)
    learnt = settings.model_dump_json(exclude=NOT_LEARNT)
    kept = checkpoints.path("student-", seed, learnt, [*files_of(folder), taught["lessons"]])
    model = student(folder, settings, threads, key(seed, "student"))
    form = FinetunedFormat(tokenizer)
    learning = Learning(lessons["train"], form, texts, settings, seed)
    learning.halve(model.get_base_model())
    logger.info("%d lessons, %d rows to judge by", len(learning.lessons), len(held_out.rows))

    def simulator() -> FinetunedSimulator:
        return FinetunedSimulator(model.get_base_model(), tokenizer, settings.batch_tokens, texts)

    curve = Fit(
        model,
        with_bins_apart(model, settings.learning_rate, settings.bins_learning_rate),
        lambda step: learning.gradients(model, step),
        lambda: few.measure(simulator()),
        settings,
        Path(f"{kept}.pt"),
    ).finish()
    model.eval()
    heard = {lesson.seq_id: lesson.text for lesson in lessons["valid"]}
    found = held_out.compare(simulator()), heard_rules(simulator(), taught["rules"], heard, subject, seed)
    facts = {**about, "seed": seed, **settings.model_dump(exclude=NOT_LEARNT)}
    with whole(output) as part:
        part.mkdir()
        save_adapter(model, about["base"], part)
        # Adapters of the last layers would fit the whole base too: so it says how many it is of.
        weight = model.get_output_embeddings().weight.detach().to("cpu", torch.float32).contiguous()
        save_file({"weight": weight}, part / BINS, {LAYERS: str(layers_of(model.get_base_model()))})
        (part / "curve.json").write_text(json.dumps(curve, indent=1) + "\n")
        (part / "README.md").write_text(card(*found, facts))
    Path(f"{kept}.pt").unlink()
    logger.info("sha256, for the config: %s", adapter_sha256(output))
