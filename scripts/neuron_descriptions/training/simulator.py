"""A simulator trained for a subject, from a run's exemplars: fine-tuning, checkpoints, a card.

An example is a description and a sequence in the fine-tuned simulator's format; at every evidence token the model
learns how strong the feature is there, 0..10 of its strongest train exemplar, by cross-entropy over 11 outputs. In a
first stage a feature is described in any of many ways; in a second one, which may be left out, in the way that the
simulator of the first one predicts best from.

B examples of a batch, S tokens of an example, E evidence tokens of a batch, N outputs.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from neuron_descriptions.common.logs import Progress, logger
from neuron_descriptions.common.storage import whole
from neuron_descriptions.common.streams import key
from neuron_descriptions.concepts.rules import learnt_rules
from neuron_descriptions.config import training as config
from neuron_descriptions.config.training import Training
from neuron_descriptions.descriptions.tokens import describe_tokens
from neuron_descriptions.models.adapters import BINS, adapter_sha256, with_bins
from neuron_descriptions.models.loading import load_model, load_tokenizer
from neuron_descriptions.simulators.simulating import OUTPUTS, FinetunedFormat
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
from neuron_descriptions.training.material import (
    DESCRIPTION,
    SEEN,
    Example,
    Examples,
    Feature,
    Material,
    Ranked,
    Taught,
    read_material,
)

NOT_LEARNT = {"base", "rules", "devices"}  # keys of the config that are files, or say where

# --- the model ----------------------------------------------------------------------------------------


def trainable(folder: str, settings: Training, threads: int, seed: int) -> Any:
    """A causal model with 11 outputs, which start at zero, and low-rank adapters, or all weights trainable."""
    dtype = "bfloat16" if settings.method == "lora" else "float32"
    return learning(load_base(folder, dtype, threads, settings.device_map), settings, seed)


def learning(model: Any, settings: Training, seed: int) -> Any:
    """A causal model made trainable: see `trainable`."""
    model.config.tie_word_embeddings = False
    hidden = model.get_output_embeddings().in_features
    *_, last = model.base_model.parameters()  # on several devices, the outputs stand where the states come out
    model.set_output_embeddings(torch.nn.Linear(hidden, OUTPUTS, bias=False, device=last.device))
    torch.nn.init.zeros_(model.get_output_embeddings().weight)
    if settings.method == "lora":
        model = with_low_rank(model, settings.rank, seed)
    model.get_output_embeddings().weight.requires_grad_(True)
    return model


def batch_of(examples: list[Example], form: FinetunedFormat, device: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(ids_BS, batch rows (E), places (E), strengths (E)): padding on the right, which a causal model never sees."""
    inputs = [form.description(e.description) + form.sequence(e.text.input_ids) for e in examples]
    longest = max(map(len, inputs))
    ids_BS = torch.tensor([ids + [0] * (longest - len(ids)) for ids in inputs], device=device)
    rows_E = np.repeat(np.arange(len(examples)), [len(e.strengths) for e in examples])
    places_E = np.concatenate([np.arange(len(i) - len(e.strengths), len(i)) for i, e in zip(inputs, examples)])
    rows, places, strengths = (
        torch.as_tensor(x, device=device) for x in (rows_E, places_E, np.concatenate([e.strengths for e in examples]))
    )
    return ids_BS, rows, places, strengths


def logits_of(model: Any, ids_BS: Tensor, rows_E: Tensor, places_E: Tensor) -> Tensor:
    """Outputs at the evidence tokens, float32 (E, N)."""
    with mixed_precision(ids_BS.device):
        logits_BSN: Tensor = model(input_ids=ids_BS, use_cache=False).logits
        return logits_BSN[rows_E, places_E].float()


@torch.inference_mode()
def predict(model: Any, form: FinetunedFormat, examples: list[Example]) -> tuple[float, float]:
    """(cross-entropy summed over all tokens, correlation of the strengths expected with the real ones; 0 where it is
    undefined)."""
    ids_BS, rows_E, places_E, strengths_E = batch_of(examples, form, model.device)
    logits_EN = logits_of(model, ids_BS, rows_E, places_E)
    expected_E = logits_EN.softmax(1) @ torch.arange(OUTPUTS, device=model.device, dtype=torch.float32)
    both = torch.stack([expected_E, strengths_E.float()])
    loss = float(torch.nn.functional.cross_entropy(logits_EN, strengths_E, reduction="sum"))
    return loss, float(torch.corrcoef(both)[0, 1]) if both.std(1).min() > 0 else 0.0


def rank(
    model: Any,
    form: FinetunedFormat,
    features: list[Feature],
    second: config.Ranked,
    seed: int,
) -> dict[tuple[int, int, str], str]:
    """Each feature's best description: that from which the model predicts its sequences best."""
    model.eval()
    best = {}
    shown = Progress(len(features), "features", 20.0)
    for feature in features:
        rows = [(e.text, feature.strengths(e)) for e in feature.spread(second.sequences)]
        found = {
            said: predict(model, form, [Example(said, text, strengths) for text, strengths in rows])[1]
            for said in feature.descriptions(seed, second.candidates)
        }
        best[feature.place] = max(found, key=lambda said: found[said])
        shown.advance(1)
    model.train()
    return best


@dataclass(slots=True)
class Validation:
    """Held-out neurons on held-out documents: the loss, and the correlation with the real activations over all tokens
    of a neuron's sequences, of its own description and of another neuron's."""

    tasks: list[tuple[list[Example], list[Example]]]  # per feature: own, another's

    @classmethod
    def of(cls, train: Material, valid: Material, most: int, seed: int) -> "Validation":
        """At most so many features, chosen by their number."""
        learnt = {f.place: f for f in train.features}
        features = [f for f in valid.features if f.held_out and f.place in learnt]
        features.sort(key=lambda f: key(seed, "validation", *f.place))
        features = features[:most]
        tasks = []
        for i, feature in enumerate(features):
            same, other = (learnt[f.place] for f in (feature, features[(i + 1) % len(features)]))
            rows = [r for kind in feature.rows for r in feature.rows[kind][: SEEN // 2 if kind == "top" else 2]]
            texts = (describe_tokens(f.peaks[:SEEN]) for f in (same, other))
            tasks.append(tuple([Example(t, e.text, same.strengths(e)) for e in rows] for t in texts if t))
        return cls(tasks)  # type: ignore[arg-type]

    def measure(self, model: Any, form: FinetunedFormat) -> dict[str, float]:
        """Means over features."""
        losses, tokens, values = [], 0, []
        for own, other in self.tasks:
            (loss, correlation), (_, others) = (predict(model, form, examples) for examples in (own, other))
            values.append((correlation, others))
            losses.append(loss)
            tokens += sum(len(e.strengths) for e in own)
        own, other = np.array(values).T
        return {
            "loss": sum(losses) / tokens,
            "own": float(own.mean()),
            "another": float(other.mean()),
            "share_above": float((own > other).mean()),
        }


# --- fine-tuning --------------------------------------------------------------------------------------


def train_simulator(
    folder: str,
    lessons: Taught,
    settings: Training,
    about: dict[str, Any],
    seed: int,
    threads: int,
    checkpoints: Checkpoints,
    output: str,
) -> None:
    """Fine-tune a model into a simulator of the exemplars' subject, and write it with its card and curves.

    folder: the base; about: facts for the card. Raises ValueError where there are too few neurons, or the base has
    another tokenizer than the subject.
    """
    tokenizer = load_tokenizer(folder)
    train = read_material(lessons.exemplars, lessons.corpus["train"], "train", tokenizer, False, lessons.descriptions)
    valid = read_material(lessons.exemplars, lessons.corpus["valid"], "valid", tokenizer, True)
    examples = Examples(train, learnt_rules(lessons.rules), settings, seed)
    validation = Validation.of(train, valid, settings.validation_neurons, seed)
    if not (examples.features and validation.tasks):
        raise ValueError(
            f"training: of the run's neurons, {len(examples.features)} signs are to learn from and"
            f" {len(validation.tasks)} are held out for validation (a tenth is); choose more neurons"
        )
    logger.info(
        "%d neurons and signs to learn from, %d rules; %d held-out ones for validation",
        len(examples.features), len(examples.rules), len(validation.tasks),
    )  # fmt: skip
    learnt = settings.model_dump_json(exclude=NOT_LEARNT)
    kept = checkpoints.path("", seed, learnt, [*files_of(folder), *lessons.files])
    model = trainable(folder, settings, threads, key(seed, "adapter"))
    form = FinetunedFormat(tokenizer)
    curve = fit(model, form, examples, validation, settings, Path(f"{kept}.pt"))
    if second := settings.second:
        chosen = sorted(examples.features, key=lambda f: key(seed, "second stage", *f.place))[: second.neurons]
        ranked = Path(f"{kept}-best.json")
        if not ranked.is_file():
            logger.info("ranking descriptions of %d neurons and signs", len(chosen))
            best = rank(model, form, chosen, second, seed)
            with whole(ranked) as part:
                part.write_text(json.dumps([[*place, said] for place, said in best.items()]))
        best = {tuple(place): said for *place, said in json.loads(ranked.read_text())}
        again = Ranked(examples, best, second.sequences)
        last = fit(model, form, again, validation, second.stage(settings), Path(f"{kept}-second.pt"))
        curve = [*curve, *({**point, "step": point["step"] + settings.steps} for point in last)]
    with whole(output) as part:
        part.mkdir()
        _save(model, tokenizer, folder, about, part, settings.method)
        (part / "curve.json").write_text(json.dumps(curve, indent=1) + "\n")
        (part / "README.md").write_text(_card(examples, validation, curve[-1], about, settings, seed))
    for path in kept.parent.glob(f"{kept.name}*"):
        path.unlink()
    if settings.method == "lora":
        logger.info("sha256, for the config: %s", adapter_sha256(output))


def fit(
    model: Any,
    form: FinetunedFormat,
    examples: Examples,
    validation: Validation,
    settings: Training,
    checkpoint: Path,
) -> list[dict[str, float]]:
    """Take a stage's steps; its curve. checkpoint: a file that outlives a killed job."""
    size = settings.batch_size
    groups = with_bins_apart(model, settings.learning_rate, settings.bins_learning_rate)

    def gradients(step: int) -> float:
        batch = [examples[number] for number in range(step * size, (step + 1) * size)]
        return _gradients(model, form, batch, settings.batch_tokens)

    return Fit(model, groups, gradients, lambda: validation.measure(model, form), settings, checkpoint).finish()


def _gradients(model: Any, form: FinetunedFormat, examples: list[Example], batch_tokens: int) -> float:
    """Add the gradients of a step, several passes where it does not fit into one; the mean loss of its tokens."""
    tokens, total = sum(len(e.strengths) for e in examples), 0.0
    for some in passes([len(e.text.input_ids) + DESCRIPTION for e in examples], batch_tokens):
        ids_BS, rows_E, places_E, strengths_E = batch_of(examples[some], form, model.device)
        logits_EN = logits_of(model, ids_BS, rows_E, places_E)
        loss = torch.nn.functional.cross_entropy(logits_EN, strengths_E, reduction="sum") / tokens
        loss.backward()
        total += float(loss.detach())
    return total


def _save(model: Any, tokenizer: Any, base: str, about: dict[str, Any], folder: Path, method: str) -> None:
    bins = {"weight": model.get_output_embeddings().weight.detach().to("cpu", torch.float32).contiguous()}
    if method == "lora":
        save_adapter(model, about["base"], folder)
        save_file(bins, folder / BINS)
    else:
        head = load_model(base, "float32", True, torch.get_num_threads()).get_output_embeddings()
        with_bins(model.cpu(), head, bins["weight"]).to(torch.bfloat16).save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _card(
    examples: Examples,
    validation: Validation,
    last: dict[str, float],
    about: dict[str, Any],
    settings: Training,
    seed: int,
) -> str:
    facts = {**about, "seed": seed, **settings.model_dump(exclude=NOT_LEARNT)}
    return "\n".join(
        [
            f"# Simulator for the neurons of {about['subject']}",
            "",
            "Predicts, from a description and a text, how strongly a neuron fires at each token. It reads `## Neuron"
            " Description: <description>`, two line breaks, ` ## Input: ` and the text's tokens; at each of these its"
            " first 11 outputs are a distribution over the strengths 0..10. For `scores.simulator`, kind `finetuned`.",
            "",
            *(f"* {name.replace('_', ' ')}: {value}" for name, value in facts.items()),
            f"* learnt from: {len(examples.features)} neurons and signs, {len(examples.rules)} rules of text",
            "",
            f"On {len(validation.tasks)} held-out neurons and signs, on documents of the valid split: correlation"
            f" {last['own']:.3f} with their own description (the tokens of their train exemplars, in words) and"
            f" {last['another']:.3f} with another's; own above another's for {100 * last['share_above']:.0f} %;"
            f" cross-entropy {last['loss']:.3f}.",
            "",
        ]
    )
