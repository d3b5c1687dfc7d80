"""An explainer trained on what it said best: of a run's candidates for a neuron, the one that scores best on valid text
becomes the answer to all prompts about that neuron (expert iteration; Anthony, Tian and Barber 2017). Or on what
somebody has written after reading the neuron's exemplars.

B examples of a batch, S tokens of an example, T answer tokens of the longest answer of a batch, V tokens known.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from neuron_descriptions.clients.token_ids import TokenIds
from neuron_descriptions.common.logs import logger
from neuron_descriptions.common.storage import read_tables, whole
from neuron_descriptions.common.streams import generator, key
from neuron_descriptions.config.descriptions import Descriptions
from neuron_descriptions.config.training import ExplainerTraining
from neuron_descriptions.descriptions.evidence import EvidenceFiles, Prompting, prepare
from neuron_descriptions.descriptions.prompts import MARKER, ExplainerTemplate, read_explainer_template
from neuron_descriptions.descriptions.tables import DESCRIPTIONS
from neuron_descriptions.models.adapters import adapter_sha256
from neuron_descriptions.models.conversations import plain_ids
from neuron_descriptions.models.loading import load_tokenizer
from neuron_descriptions.scores.tables import SCORES
from neuron_descriptions.training.fine_tuning import (
    Checkpoints,
    Fit,
    is_held_out,
    load_base,
    mixed_precision,
    passes,
    save_adapter,
    with_low_rank,
)

Place = tuple[int, int, str]  # layer, neuron, sign
NOT_LEARNT = {"base", "rounds", "devices", "readings_layers"}  # keys of the config that decide nothing of one round


@dataclass(slots=True, frozen=True)
class Lesson:
    """What is asked about a neuron's sign, in several ways, and the answer that is learnt: token ids."""

    place: Place
    prompts: list[list[int]]
    answer: list[int]


def winners(descriptions: list[str], scores: list[str], explainer: str, least_score: float) -> dict[Place, str]:
    """The explainer's best candidate of each neuron and sign, by correlation on valid text, where that is at least
    least_score. descriptions, scores: tables; candidates of others, such as token names, do not count."""
    own = [("status", "==", "ok"), ("explainer", "==", explainer)]
    said = {
        (row["layer"], row["neuron"], row["sign"], row["candidate"]): row["description"]
        for row in read_tables(descriptions, DESCRIPTIONS, own).to_pylist()
    }
    best: dict[Place, tuple[float, str]] = {}
    for row in read_tables(scores, SCORES, [("kind", "==", "candidate"), ("split", "==", "valid")]).to_pylist():
        place, correlation = (row["layer"], row["neuron"], row["sign"]), row["correlation"]
        description = said.get((*place, row["candidate"]))
        if description is None or correlation is None or correlation < least_score:
            continue
        if place not in best or correlation > best[place][0]:  # of equal ones the first
            best[place] = correlation, description
    return {place: description for place, (_, description) in best.items()}


def written(readings: list[dict[str, Any]]) -> dict[Place, str]:
    """The written description of each neuron and sign; of several the first. readings: rows of read_given."""
    found: dict[Place, str] = {}
    for row in readings:
        found.setdefault((row["layer"], row["neuron"], row["sign"]), row["description"])
    return found


def continuation(begun: str, description: str) -> str | None:
    """What follows the beginning of an answer to give a description; None where it begins otherwise. begun: what every
    answer begins with."""
    if MARKER not in begun:
        return f"{MARKER} {description}"
    words = begun.rpartition(MARKER)[2].strip()
    if not description.startswith(words):
        return None
    rest = description[len(words) :].lstrip()
    return rest if begun[-1:].isspace() else f" {rest}"


def read_lessons(
    best: dict[Place, str],
    inputs: Mapping[str, Any],
    template: ExplainerTemplate,
    settings: Descriptions,
    tokenizer: Any,
    seed: int,
) -> list[Lesson]:
    """The prompts of all candidates of each place, and its best description as their answer. inputs: see
    train_explainer; settings: how prompts are made; tokenizer: the explainer's."""
    ids, subject = TokenIds(tokenizer), load_tokenizer(inputs["subject"])
    lessons = []
    for layer, places in groupby(sorted(best), key=lambda place: place[0]):
        here = set(places)
        tables = {
            name: [path for path in inputs[name] if Path(path).parent.name == f"layer-{layer}"]
            for name in ("exemplars", "statistics")
        }
        neurons = sorted({neuron for _, neuron, _ in here})
        files = EvidenceFiles(inputs["corpus"], tables["exemplars"], tables["statistics"])
        asked = settings.model_copy(update={"concept_candidates": 0})
        candidates = prepare(neurons, layer, files, Prompting(subject, template), asked, seed)
        for place, group in groupby(candidates, key=lambda c: (c.layer, c.neuron, c.sign)):
            if place not in here:
                continue
            text = continuation(template.answer, best[place])
            if text is None:
                continue
            prompts = [[*shared, *own] for shared, own in (ids.prompt(c.prompt) for c in group if c.prompt)]
            lessons.append(Lesson(place, prompts, [*plain_ids(tokenizer, text), tokenizer.eos_token_id]))
    return lessons


def _parted(lessons: list[Lesson], are_written: bool) -> tuple[list[Lesson], list[Lesson]]:
    """(to learn from, held out). Raises ValueError where one of them is empty."""
    learnt = [lesson for lesson in lessons if not is_held_out(*lesson.place[:2])]
    held_out = [lesson for lesson in lessons if is_held_out(*lesson.place[:2])]
    if learnt and held_out:
        return learnt, held_out
    key, what, remedy = "explainer_training", "a candidate that scores enough", "a lower explainer_training.least_score"
    if are_written:
        key, what = "explainer_training.readings", "a description that can be learnt"
        remedy = "a descriptions.prompt whose answer does not begin with words of its own"
    raise ValueError(
        f"{key}: {len(learnt)} neurons and signs to learn from and {len(held_out)} held-out ones (a tenth is) have"
        f" {what}; choose more neurons, or {remedy}"
    )


def answer_loss(model: Any, examples: list[tuple[list[int], list[int]]]) -> Tensor:
    """Cross-entropy summed over all answer tokens. examples: ids of a prompt and of its answer."""
    longest = max(len(prompt) + len(answer) for prompt, answer in examples)
    answers = max(len(answer) for _, answer in examples)
    rows = [[0] * (longest - len(prompt) - len(answer)) + prompt + answer for prompt, answer in examples]
    ids_BS = torch.tensor(rows, device=model.device)
    own = torch.tensor([[len(prompt) + len(answer), len(answer)] for prompt, answer in examples], device=model.device)
    mask_BS = torch.arange(longest, 0, -1, device=model.device) <= own[:, :1]  # padding stands on the left
    targets_BT = torch.where(
        torch.arange(answers, 0, -1, device=model.device) <= own[:, 1:], ids_BS[:, longest - answers :], -100
    )
    with mixed_precision(ids_BS.device):
        logits_BTV = model(
            input_ids=ids_BS, attention_mask=mask_BS.long(), position_ids=(mask_BS.cumsum(1) - 1).clamp_min(0),
            use_cache=False, logits_to_keep=answers + 1,
        ).logits[:, :-1]  # fmt: skip
    return torch.nn.functional.cross_entropy(logits_BTV.flatten(0, 1).float(), targets_BT.flatten(), reduction="sum")


def train_explainer(
    inputs: Mapping[str, Any],
    descriptions: Descriptions,
    settings: ExplainerTraining,
    about: dict[str, Any],
    seed: int,
    threads: int,
    checkpoints: Checkpoints,
    output: str,
) -> None:
    """Fine-tune a model on the run's best candidates, or on written descriptions, and write its adapter with a card and
    a curve.

    inputs: base (folder of the model that is trained), subject (folder), corpus (train table, or those of imported
    parts), prompt (file), exemplars, statistics (lists of tables, of all layers), and either readings (rows of
    read_given) or descriptions and scores (lists of tables); descriptions: how prompts are made, and whose candidates
    count; about: facts for the card. Raises ValueError where too few neurons have something to learn.
    """
    if descriptions.explainer is None:
        raise ValueError("descriptions.explainer: none is named, so that there is nobody to train")
    template = read_explainer_template(inputs["prompt"], descriptions.few_shot, begins=True)
    asked = descriptions.model_dump(exclude={"explainer"})
    tokenizer = load_tokenizer(inputs["base"])
    readings = inputs.get("readings")
    if readings:
        best = written(readings)
    else:
        best = winners(inputs["descriptions"], inputs["scores"], descriptions.explainer.model, settings.least_score)
    lessons = read_lessons(best, inputs, template, descriptions, tokenizer, seed)
    learnt, held_out = _parted(lessons, bool(readings))
    logger.info("%d neurons and signs to learn from, %d held out", len(learnt), len(held_out))
    drawn = generator(seed, "validation").permutation(len(held_out))[: settings.validation_neurons]
    held_out = [held_out[number] for number in sorted(drawn.tolist())]
    files = [str(path) for path in sorted(Path(inputs["base"]).iterdir()) if path.is_file()]
    for name in ("corpus", "prompt", "exemplars", "statistics", "descriptions", "scores"):
        files += [inputs[name]] if isinstance(inputs[name], str) else list(inputs[name])
    learnt_how = settings.model_dump(exclude=NOT_LEARNT)
    said = json.dumps([learnt_how, asked, readings], sort_keys=True)
    kept = checkpoints.path("explainer-", seed, said, files).with_suffix(".pt")
    model = load_base(inputs["base"], "bfloat16", threads, settings.device_map)
    model = with_low_rank(model, settings.rank, key(seed, "adapter"), settings.adapted_blocks)

    def example(number: int) -> tuple[list[int], list[int]]:
        turn, place = divmod(number, len(learnt))  # all lessons once, in an order of their own, then all again
        lesson = learnt[int(generator(seed, "order", turn).permutation(len(learnt))[place])]
        draw = generator(seed, "lesson", number)
        return lesson.prompts[int(draw.integers(len(lesson.prompts)))], lesson.answer

    def gradients(step: int) -> float:
        size = settings.batch_size
        batch = [example(number) for number in range(step * size, (step + 1) * size)]
        tokens, total = sum(len(answer) for _, answer in batch), 0.0
        for some in passes([len(prompt) + len(answer) for prompt, answer in batch], settings.batch_tokens):
            loss = answer_loss(model, batch[some]) / tokens
            loss.backward()
            total += float(loss.detach())
        return total

    def measure() -> dict[str, float]:
        asked = sorted(((lesson.prompts[0], lesson.answer) for lesson in held_out), key=lambda pair: len(pair[0]))
        parts = passes([len(prompt) + len(answer) for prompt, answer in asked], settings.batch_tokens)
        losses = [float(answer_loss(model, asked[some])) for some in parts]
        return {"loss": sum(losses) / sum(len(answer) for _, answer in asked)}

    groups = [{"params": [p for p in model.parameters() if p.requires_grad], "lr": settings.learning_rate}]
    with torch.inference_mode():  # the adapters do nothing yet
        untrained = measure()["loss"]
    logger.info("untrained: loss %.3f", untrained)
    curve = Fit(model, groups, gradients, measure, settings, kept, settings.patience).finish()
    with whole(output) as part:
        part.mkdir()
        save_adapter(model, about["base"], part)
        (part / "curve.json").write_text(json.dumps(curve, indent=1) + "\n")
        what = "written descriptions" if readings else "best candidates"
        (part / "README.md").write_text(
            _card(
                what,
                len(learnt),
                len(held_out),
                _losses(untrained, curve, settings),
                about | {"seed": seed} | learnt_how,
            )
        )
    kept.unlink()
    logger.info("sha256, for the config: %s", adapter_sha256(output))


def _losses(untrained: float, curve: list[dict[str, float]], settings: ExplainerTraining) -> str:
    """What the card says of the held-out loss: that of the weights that are kept, and of the untrained model."""
    kept = curve[-1] if settings.patience is None else min(curve, key=lambda point: point["loss"])
    chosen = "" if settings.patience is None else ", the lowest that was measured"
    return f"{kept['loss']:.3f} after {kept['step']} steps{chosen} (untrained {untrained:.3f})"


def _card(what: str, learnt: int, held_out: int, losses: str, facts: dict[str, Any]) -> str:
    how = (
        "what a reader wrote"
        if what.startswith("written")
        else "the best of its candidates, as a simulator scored them"
    )
    return "\n".join(
        [
            f"# Explainer for the neurons of {facts['subject']}",
            "",
            "Reads exemplars of a neuron and says in a few words what they have in common, as the prompt file named"
            f" below asks. Trained to answer with {how}. For `descriptions.explainer`.",
            "",
            *(f"* {name.replace('_', ' ')}: {value}" for name, value in facts.items()),
            f"* learnt from: the {what} of {learnt} neurons and signs",
            "",
            f"Cross-entropy of the {what} of {held_out} held-out neurons and signs, per token: {losses}.",
            "",
        ]
    )
