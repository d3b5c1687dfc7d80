"""Which tokens' probability changes most when a neuron is scaled on real text: measured, where the effects of
writing.py are read off the weights.

Wherever a neuron is active with a sign its activation is multiplied, and the log probabilities of the next token are
set against those without that, at the places where it is strongest. Tokens are chosen on one half of the sequences and
looked at on the other: of the largest of many changes some are large by chance.

B the model's own text and the scaled one, T tokens, I neurons of a layer, V tokens of the vocabulary, N tokens of the
panel, P places, K tokens kept.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from neuron_descriptions.common.logs import logger, progress
from neuron_descriptions.common.signs import direction, turned
from neuron_descriptions.common.storage import write_table
from neuron_descriptions.common.streams import generator
from neuron_descriptions.common.vocabulary import SIGNS
from neuron_descriptions.config.output_side import OutputSide
from neuron_descriptions.features.neurons import down_projections
from neuron_descriptions.models.loading import load_model, load_tokenizer
from neuron_descriptions.output_side.scaled import OUTPUT_SCALED
from neuron_descriptions.output_side.writing import WholeModel, vocabulary
from neuron_descriptions.panel.reading import Panel

PLACES = 40  # where a neuron is strongest
Texts = list[tuple[list[int], list[int]]]  # of a sequence: ids, and which of them are places


@dataclass(slots=True)
class Changes:
    """Mean changes (V) of a neuron and sign on the two halves of its sequences."""

    chosen_V: Tensor
    shown_V: Tensor
    n_places: int


def strongest(panel: Panel, acts_N: NDArray[np.float32], sign: str) -> tuple[Texts, Texts]:
    """The places where a neuron is strongest on a side, by sequence: in turn of the one half and the other."""
    up_N = turned(acts_N.astype(np.float64), sign)
    order = np.argsort(-up_N, kind="stable")[:PLACES]
    first_B = np.concatenate([[0], panel.lengths.cumsum()])
    places: dict[int, list[int]] = {}
    for place in order[up_N[order] > 0].tolist():
        sequence = int(panel.sequence_N[place])
        within = panel.sequences[sequence].prefix_len + place - int(first_B[sequence])
        places.setdefault(sequence, []).append(within)
    texts = [(panel.sequences[sequence].input_ids, sorted(own)) for sequence, own in places.items()]
    return texts[::2], texts[1::2]


@torch.inference_mode()
def mean_change(model: Any, projection: nn.Module, neuron: int, up: float, texts: Texts) -> Tensor:
    """Change (V) of the next token's log probability, float32, the mean over the places, where the activations of a
    neuron whose sign is that of `up` are multiplied by its size."""

    def scale(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        acts = args[0].clone()  # as some families have it, (B * T, I)
        acts_T = acts.reshape(2, -1, acts.shape[-1])[1, :, neuron]
        scaled_T = torch.where(acts_T * up > 0, acts_T * abs(up), acts_T)
        acts.view(2, -1, acts.shape[-1])[1, :, neuron] = scaled_T
        return (acts, *args[1:])

    device = next(model.parameters()).device
    sums: list[Tensor] = []
    hook = projection.register_forward_pre_hook(scale)
    try:
        for ids, places in texts:
            logits_BTV = model(input_ids=torch.tensor([ids, ids], device=device), use_cache=False).logits
            own_BPV = logits_BTV[:, places].float().log_softmax(2)
            sums.append((own_BPV[1] - own_BPV[0]).sum(0))
    finally:
        hook.remove()
    return torch.stack(sums).sum(0).cpu() / sum(len(places) for _, places in texts)


def compared(own: Changes, others: list[Changes], n_tokens: int, strings: list[str]) -> dict[str, Any]:
    """Columns of OUTPUT_SCALED of a neuron and sign, set against others of the layer."""
    found: dict[str, Any] = {"n_places": own.n_places, "n_others": len(others)}
    for end, turn in (("up", 1.0), ("down", -1.0)):
        ids = (turn * own.chosen_V[: len(strings)]).topk(min(n_tokens, len(strings))).indices
        shown_K = own.shown_V[ids]
        found[f"{end}_tokens"], found[f"{end}_changes"] = [strings[i] for i in ids.tolist()], shown_K.tolist()
        null = np.array([float(other.shown_V[ids].mean()) for other in others])
        spread = float(null.std(ddof=1)) if len(null) > 1 else 0.0
        found[f"{end}_effect"] = (float(shown_K.mean()) - float(null.mean())) / spread if spread > 0 else None
    return found


def scale_output_side(
    subject: WholeModel,
    panel: Panel,
    neurons: dict[int, list[int]],
    settings: OutputSide,
    seed: int,
    threads: int,
    output: str,
) -> None:
    """Write OUTPUT_SCALED of a sample of each layer's described neurons.

    panel: text and activations;
    neurons: described, by layer. Raises ValueError where the panel lacks a neuron.
    """
    model = load_model(subject.folder, subject.dtype, head=True, threads=threads)
    projections = down_projections(model, *subject.shape)
    tokenizer = load_tokenizer(subject.folder)
    strings = vocabulary(tokenizer, min(len(tokenizer), model.get_output_embeddings().weight.shape[0]))
    rows: list[dict[str, Any]] = []
    for layer, described in progress(neurons.items(), len(neurons), "layers"):
        random, size = generator(seed, "scaled", layer), min(settings.scaled, len(described))
        drawn = sorted(random.choice(described, size, replace=False).tolist())
        acts_FN = panel.acts(layer, drawn)
        for sign in SIGNS:
            measured: dict[int, Changes] = {}
            for neuron, acts_N in zip(drawn, acts_FN):
                halves = strongest(panel, acts_N, sign)
                if all(halves):
                    up = direction(sign) * settings.factor
                    chosen_V, shown_V = (mean_change(model, projections[layer], neuron, up, texts) for texts in halves)
                    n_places = sum(len(places) for texts in halves for _, places in texts)
                    measured[neuron] = Changes(chosen_V, shown_V, n_places)
            for neuron in drawn:
                row = {"layer": layer, "neuron": neuron, "sign": sign, "factor": settings.factor}
                if neuron in measured:
                    others = [one for other, one in measured.items() if other != neuron]
                    row |= compared(measured[neuron], others, settings.tokens, strings)
                rows.append(row)
    rows.sort(key=lambda row: (row["layer"], row["neuron"], SIGNS.index(row["sign"])))
    write_table(pa.Table.from_pylist(rows, schema=OUTPUT_SCALED), output)
    effects = [row["up_effect"] for row in rows if row.get("up_effect") is not None]
    logger.info("%d of %d neurons and signs raise their tokens by more than 2 standard deviations of others",
                sum(effect > 2 for effect in effects), len(rows))  # fmt: skip
