"""A simulator trained for a subject, from a run's exemplars: examples, fine-tuning, checkpoints, a card.

An example is a description and a sequence in the fine-tuned simulator's format; at every evidence token the model
learns how strong the feature is there, 0..10 of its strongest train exemplar, by cross-entropy over 11 outputs.

B examples of a batch, S tokens of an example, E evidence tokens of a batch, N outputs.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from .adapters import BINS, with_bins
from .logs import Progress, logger
from .models import load_model, load_tokenizer, token_strings
from .random_streams import generator, key
from .records import EXEMPLARS, Sign
from .rules_of_text import Rule, read_rules, table
from .sequences import Text, read_texts
from .simulating import OUTPUTS, FinetunedFormat
from .storage import read_table, whole
from .token_descriptions import Peak, describe_tokens, peak_of

HELD_OUT = 10  # one neuron in so many is for validation, on the valid split
WARM_UP = 0.05  # share of the steps
SEEN = 10  # the most exemplars that a description is made from, and validation scores half of that


# --- what is learnt from ------------------------------------------------------------------------------


@dataclass(slots=True)
class Feature:
    """A neuron's sign: its exemplars in one split. Activations are turned, so that strong is large."""

    layer: int
    neuron: int
    sign: Sign
    rows: dict[str, list[tuple[int, np.ndarray]]] = field(default_factory=dict)  # kind -> (seq_id, activations)
    peaks: list[Peak] = field(default_factory=list)  # of the top ones

    @property
    def place(self) -> tuple[int, int, str]:
        """Which it is."""
        return self.layer, self.neuron, self.sign

    @property
    def largest(self) -> float:
        """The strongest activation of its exemplars."""
        return float(self.rows["top"][0][1].max())

    @property
    def held_out(self) -> bool:
        """Whether it is for validation, whatever else is in the run."""
        return key("held out", self.layer, self.neuron) % HELD_OUT == 0


@dataclass(slots=True)
class Material:
    """A split's features and sequences."""

    features: list[Feature]
    texts: dict[int, Text]
    tokens: dict[int, list[str]]  # seq_id -> texts of the evidence tokens


def read_material(exemplars: list[str], corpus: str, split: str, tokenizer: Any) -> Material:
    """Read a split of exemplar tables. Signs that no token has are left out."""
    features = []
    for path in exemplars:
        found = read_table(path, EXEMPLARS, [("split", "==", split)])
        lists = found["activations"].combine_chunks()
        acts, offsets = lists.values.to_numpy(), lists.offsets.to_numpy()
        columns = zip(*(found[name].to_pylist() for name in ("layer", "neuron", "sign", "kind", "seq_id")))
        for (layer, neuron, sign), rows in groupby(enumerate(columns), lambda row: row[1][:3]):
            feature = Feature(layer, neuron, sign)
            turn = 1 if sign == "positive" else -1
            for at, (*_, kind, seq_id) in rows:
                row = turn * acts[offsets[at] : offsets[at + 1]]
                feature.rows.setdefault(kind, []).append((seq_id, row))
            if feature.largest > 0:
                features.append(feature)
    texts = read_texts(corpus, {seq_id for f in features for rows in f.rows.values() for seq_id, _ in rows})
    tokens = {seq_id: token_strings(tokenizer, text.evidence) for seq_id, text in texts.items()}
    for feature in features:
        feature.peaks = [peak_of(tokens[seq_id], acts) for seq_id, acts in feature.rows["top"]]
    return Material([f for f in features if describe_tokens(f.peaks[:SEEN])], texts, tokens)


@dataclass(slots=True, frozen=True)
class Example:
    """A description, a sequence, and the strength at each of its evidence tokens, 0..10."""

    description: str
    text: Text
    strengths: np.ndarray


class Examples:
    """Examples by number: a function of (seed, number) alone."""

    def __init__(self, material: Material, rules: list[Rule], rule_share: float, seed: int):
        """rule_share: how many of the examples are of rules instead of neurons."""
        self.features = [f for f in material.features if not f.held_out]
        self.material, self.rules, self.rule_share, self.seed = material, rules, rule_share, seed
        self.seq_ids = sorted(material.texts)
        self.holds = table(rules, [material.tokens[i] for i in self.seq_ids])

    def __getitem__(self, number: int) -> Example:
        draw = generator(self.seed, "training example", number)
        return self._rule(draw) if draw.random() < self.rule_share else self._neuron(draw)

    def _rule(self, draw: np.random.Generator) -> Example:
        which = int(draw.integers(len(self.rules)))
        where = np.flatnonzero(self.holds[which])
        if len(where) == 0 or draw.random() < 0.3:
            where = np.arange(len(self.seq_ids))
        seq_id, rule = self.seq_ids[int(draw.choice(where))], self.rules[which]
        strengths = 10 * np.array(rule.holds(self.material.tokens[seq_id]), int)
        return Example(rule.say[int(draw.integers(len(rule.say)))], self.material.texts[seq_id], strengths)

    def _neuron(self, draw: np.random.Generator) -> Example:
        feature = self.features[int(draw.integers(len(self.features)))]
        seen = np.sort(draw.choice(len(feature.peaks), min(len(feature.peaks), int(draw.integers(4, SEEN + 1))), False))
        description = describe_tokens([feature.peaks[i] for i in seen], draw)
        kind = draw.choice(list(feature.rows))
        rows = feature.rows[kind]
        if kind == "top":  # not those that the description was made from
            rows = [row for i, row in enumerate(rows) if i not in seen] or rows
        seq_id, acts = rows[int(draw.integers(len(rows)))]
        if description is None:  # its peaks have no text
            return self._rule(draw)
        return Example(description, self.material.texts[seq_id], strengths_of(acts, feature.largest))


def strengths_of(acts: np.ndarray, largest: float) -> np.ndarray:
    """Activations as whole numbers 0..10 of the largest."""
    return np.rint(10 * np.clip(acts / largest, 0, 1)).astype(int)


# --- the model ----------------------------------------------------------------------------------------


def trainable(folder: str, method: str, rank: int, threads: int, seed: int) -> Any:
    """A causal model with 11 outputs, which start at zero, and low-rank adapters on all its linear layers (Hu et al.
    2021, "LoRA"), or all weights trainable."""
    from peft import LoraConfig, get_peft_model

    lora = method == "lora"
    model = load_model(folder, "bfloat16" if lora else "float32", True, threads)
    model.config.tie_word_embeddings = False
    hidden = model.get_output_embeddings().in_features
    model.set_output_embeddings(torch.nn.Linear(hidden, OUTPUTS, bias=False, device=model.device))
    torch.nn.init.zeros_(model.get_output_embeddings().weight)
    if lora:
        torch.manual_seed(seed % 2**63)
        model = get_peft_model(model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear"))
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
    with torch.autocast(ids_BS.device.type, torch.bfloat16):
        return model(input_ids=ids_BS, use_cache=False).logits[rows_E, places_E].float()


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
            tasks.append(
                tuple([Example(t, valid.texts[s], strengths_of(a, same.largest)) for s, a in rows] for t in texts if t)
            )
        return cls(tasks)  # type: ignore[arg-type]

    @torch.inference_mode()
    def measure(self, model: Any, form: FinetunedFormat) -> dict[str, float]:
        """Means over features; a correlation that is undefined counts as 0."""
        model.eval()
        values: list[list[float]] = []
        loss = tokens = 0.0
        outputs_N = torch.arange(OUTPUTS, device=model.device, dtype=torch.float32)
        for pair in self.tasks:
            found = []
            for examples in pair:
                ids_BS, rows_E, places_E, strengths_E = batch_of(examples, form, model.device)
                logits_EN = logits_of(model, ids_BS, rows_E, places_E)
                if examples is pair[0]:
                    loss += float(torch.nn.functional.cross_entropy(logits_EN, strengths_E, reduction="sum"))
                    tokens += len(strengths_E)
                predicted_E = logits_EN.softmax(1) @ outputs_N
                both = torch.stack([predicted_E, strengths_E.float()])
                found.append(float(torch.corrcoef(both)[0, 1]) if both.std(1).min() > 0 else 0.0)
            values.append(found)
        model.train()
        own, other = np.array(values).T
        return {
            "loss": loss / tokens,
            "own": float(own.mean()),
            "another": float(other.mean()),
            "share_above": float((own > other).mean()),
        }


# --- fine-tuning --------------------------------------------------------------------------------------


def train_simulator(
    folder: str,
    exemplars: list[str],
    corpus: dict[str, str],
    rules: str,
    settings: dict[str, Any],
    about: dict[str, Any],
    seed: int,
    threads: int,
    checkpoints: str,
    output: str,
) -> None:
    """Fine-tune a model into a simulator of the exemplars' subject, and write it with its card and curves.

    folder: the base; corpus: train and valid tables; rules: see rules_of_text; settings: the config's `training`;
    about: facts for the card; checkpoints: a folder that outlives a killed job: what is there of the same settings is
    gone on from, and changes nothing. Raises ValueError where there are too few neurons.
    """
    tokenizer = load_tokenizer(folder)
    train, valid = (read_material(exemplars, corpus[split], split, tokenizer) for split in ("train", "valid"))
    examples = Examples(train, read_rules(rules), settings["rules_share"], seed)
    validation = Validation.of(train, valid, settings["validation_neurons"], seed)
    if not (examples.features and validation.tasks):
        raise ValueError(
            f"training: of the run's neurons, {len(examples.features)} signs are to learn from and"
            f" {len(validation.tasks)} are held out for validation (a tenth is); choose more neurons"
        )
    logger.info(
        "%d neurons and signs to learn from, %d rules; %d held-out ones for validation",
        len(examples.features), len(examples.rules), len(validation.tasks),
    )  # fmt: skip
    model = trainable(folder, settings["method"], settings["rank"], threads, key(seed, "adapter"))
    run = _Fit(model, tokenizer, examples, validation, settings, Path(checkpoints) / f"{_identity(settings, seed)}.pt")
    run.finish()
    with whole(output) as part:
        part.mkdir()
        _save(run, folder, about, part, settings["method"])
        (part / "curve.json").write_text(json.dumps(run.curve, indent=1) + "\n")
        (part / "README.md").write_text(_card(run, about, settings, seed))
    run.checkpoint.unlink(missing_ok=True)


def _identity(settings: dict[str, Any], seed: int) -> str:
    return f"{key(json.dumps(settings, sort_keys=True), seed):016x}"


class _Fit:
    """Fine-tuning that goes on from its checkpoint. AdamW; the rate rises, then falls along a cosine to 0."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        examples: Examples,
        validation: Validation,
        settings: dict[str, Any],
        checkpoint: Path,
    ):
        self.model, self.examples, self.validation = model, examples, validation
        self.tokenizer, self.form = tokenizer, FinetunedFormat(tokenizer)
        self.settings, self.checkpoint, self.step = settings, checkpoint, 0
        self.curve: list[dict[str, float]] = []
        self.weights = {name: p for name, p in model.named_parameters() if p.requires_grad}
        bins = [model.get_output_embeddings().weight]
        others = [p for p in self.weights.values() if p is not bins[0]]
        rate = settings["learning_rate"]
        self.optimizer = torch.optim.AdamW(
            [{"params": others, "lr": rate}, {"params": bins, "lr": settings["bins_learning_rate"]}], weight_decay=0.0
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._rate)
        if checkpoint.is_file():
            self._resume()

    def _rate(self, step: int) -> float:
        warm = max(1, round(WARM_UP * self.settings["steps"]))
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, self.settings["steps"] - warm)))

    def _resume(self) -> None:
        state = torch.load(self.checkpoint, map_location=self.model.device, weights_only=True)
        with torch.no_grad():
            for name, value in state["weights"].items():
                self.weights[name].copy_(value)
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.step, self.curve = state["step"], state["curve"]
        logger.info("going on from step %d", self.step)

    def _keep(self) -> None:
        state = {
            "weights": {name: p.detach() for name, p in self.weights.items()},
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "step": self.step,
            "curve": self.curve,
        }
        with whole(self.checkpoint) as part:
            torch.save(state, part)

    def finish(self) -> None:
        """Take the steps that are left."""
        settings, size = self.settings, self.settings["batch_size"]
        shown = Progress(settings["steps"], "steps", 20.0)
        if self.step:
            shown.advance(self.step, free=True)
        self.model.train()
        losses: list[float] = []
        for ids_BS, rows_E, places_E, strengths_E in self._batches(size):
            logits_EN = logits_of(self.model, ids_BS, rows_E, places_E)
            loss = torch.nn.functional.cross_entropy(logits_EN, strengths_E)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.weights.values(), 1.0)
            self.optimizer.step()
            self.schedule.step()
            self.step += 1
            losses.append(float(loss.detach()))
            if self.step % settings["validate_every"] == 0 or self.step == settings["steps"]:
                found = self.validation.measure(self.model, self.form)
                self.curve.append({"step": self.step, "train_loss": float(np.mean(losses)), **found})
                losses = []
                logger.info("step %d: %s", self.step, ", ".join(f"{k} {v:.3f}" for k, v in self.curve[-1].items()))
                self._keep()
            shown.advance(1)

    def _batches(self, size: int) -> Iterator[tuple[Tensor, ...]]:
        for step in range(self.step, self.settings["steps"]):
            examples = [self.examples[number] for number in range(step * size, (step + 1) * size)]
            yield batch_of(examples, self.form, self.model.device)


def _save(run: _Fit, base: str, about: dict[str, Any], folder: Path, method: str) -> None:
    bins = {"weight": run.model.get_output_embeddings().weight.detach().to("cpu", torch.float32).contiguous()}
    if method == "lora":
        run.model.peft_config["default"].base_model_name_or_path = about["base"]  # else a path of this machine
        states = {n: p.to(torch.bfloat16) for n, p in run.model.state_dict().items() if "lora_" in n}
        run.model.save_pretrained(folder, state_dict=states, save_embedding_layers=False)
        (folder / "README.md").unlink(missing_ok=True)  # peft's empty card
        save_file(bins, folder / BINS)
    else:
        head = load_model(base, "float32", True, torch.get_num_threads()).get_output_embeddings()
        with_bins(run.model.cpu(), head, bins["weight"]).to(torch.bfloat16).save_pretrained(folder)
        run.tokenizer.save_pretrained(folder)


def _card(run: _Fit, about: dict[str, Any], settings: dict[str, Any], seed: int) -> str:
    last = run.curve[-1]
    facts = {**about, "seed": seed, **settings}
    return "\n".join(
        [
            f"# Simulator for the neurons of {about['subject']}",
            "",
            "Predicts, from a description and a text, how strongly a neuron fires at each token. It reads `## Neuron"
            " Description: <description>`, two line breaks, ` ## Input: ` and the text's tokens; at each of these its"
            " first 11 outputs are a distribution over the strengths 0..10. For `scores.simulator`, kind `finetuned`.",
            "",
            *(f"* {name.replace('_', ' ')}: {value}" for name, value in facts.items()),
            f"* learnt from: {len(run.examples.features)} neurons and signs, {len(run.examples.rules)} rules of text",
            "",
            f"On {len(run.validation.tasks)} held-out neurons and signs, on documents of the valid split: correlation"
            f" {last['own']:.3f} with their own description (the tokens of their train exemplars, in words) and"
            f" {last['another']:.3f} with another's; own above another's for {100 * last['share_above']:.0f} %;"
            f" cross-entropy {last['loss']:.3f}.",
            "",
        ]
    )
