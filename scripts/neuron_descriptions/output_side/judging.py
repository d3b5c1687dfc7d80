"""Whether the model predicts a neuron's tokens where the neuron fires, on text as it comes; and whether it writes what
it reads.

Nothing is changed in the model: where a neuron fires much else does, so that this tells what goes with it, not what it
causes. Other neurons' tokens at the same places are what it is set against.

D the residual stream, V tokens of the vocabulary, U distinct tokens of the panel, N tokens of the panel, F neurons, I
all neurons of a layer, P places where a neuron fires, Q places elsewhere.
"""

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from neuron_descriptions.common.logs import logger, progress
from neuron_descriptions.common.signs import direction, turned
from neuron_descriptions.common.storage import read_table, write_table
from neuron_descriptions.common.streams import generator
from neuron_descriptions.common.vocabulary import SIGNS
from neuron_descriptions.concepts.vocabulary import read_vocabulary
from neuron_descriptions.config.features import MlpNeuronFeatures
from neuron_descriptions.corpus.tables import CORPUS
from neuron_descriptions.features.gates import Gates, NoGateError, find_gates
from neuron_descriptions.harvest.batches import read_batches
from neuron_descriptions.models.loading import load_model, load_tokenizer
from neuron_descriptions.output_side.judged import OUTPUT_SCORES
from neuron_descriptions.output_side.naming import Namer
from neuron_descriptions.output_side.tables import OUTPUT_SIDE
from neuron_descriptions.output_side.writing import WholeModel, open_writers, unembedding, vocabulary
from neuron_descriptions.panel.reading import Panel

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

FIRES, NEAR = 0.01, 0.05  # shares of the tokens: where a neuron fires; what is too near to that to be elsewhere
LEAST, ELSEWHERE, NULLS = 10, 2000, 20  # firing tokens at least; places elsewhere; other neurons whose tokens are tried
SURE = 0.025  # of either end of the other neurons, beyond which a neuron agrees, or the opposite
BATCH = 8


@dataclass(slots=True)
class Readout:
    """What a pass over the panel keeps."""

    stream_ND: Tensor  # what the unembedding reads
    total_N: Tensor  # log of the sum over the vocabulary of exp(logits)
    scale: float  # of logits, over the unembedding's products
    gates: dict[int, NDArray[np.bool_]] = field(default_factory=dict)  # by layer (F, N): whether the gate is above 0


@torch.inference_mode()
def read_panel(
    model: Any, corpus: str, longest: int, sequences: int, neurons: dict[int, list[int]], gates: Gates
) -> Readout:
    """Run the model over the panel. gates: of layers that have some."""
    head = model.get_output_embeddings()
    kept: dict[Any, Any] = {}
    hook = head.register_forward_pre_hook(lambda module, args: kept.__setitem__("stream", args[0]))
    parts: dict[Any, list[Tensor]] = {"stream": [], "total": [], **{layer: [] for layer in gates.layers}}
    scale = 0.0
    with ExitStack() as watching:
        watching.callback(hook.remove)
        watching.enter_context(gates)
        for batch in progress(read_batches(corpus, 0, sequences, BATCH, longest), -(-sequences // BATCH), "batches"):
            device = next(model.parameters()).device
            logits_BTV = model(input_ids=batch.input_ids_BT.to(device), use_cache=False).logits
            places_N = batch.evidence_N if batch.valid_V is None else batch.evidence_N[batch.valid_V]
            logits_NV, stream_ND = (
                x.flatten(0, 1)[places_N.to(x.device)].float() for x in (logits_BTV, kept["stream"])
            )
            if not scale:
                products_NV = stream_ND[:LEAST] @ head.weight.float().T
                scale = float((logits_NV[:LEAST] * products_NV).sum() / (products_NV * products_NV).sum())
            parts["stream"].append(stream_ND.cpu())
            parts["total"].append(logits_NV.logsumexp(1).cpu())
            for layer in gates.layers:
                gate_NI = gates.take(layer)
                parts[layer].append((gate_NI[places_N.to(gate_NI.device)][:, neurons[layer]] > 0).T.cpu())
    above = {layer: torch.cat(parts[layer], 1).numpy() for layer in gates.layers}
    return Readout(torch.cat(parts["stream"]), torch.cat(parts["total"]), scale, above)


@dataclass(slots=True, frozen=True)
class Auc:
    """Area under the curve, with the standard error that whole documents give it."""

    value: float
    error: float


def auc_of(firing_P: Floats, elsewhere_Q: Floats, document_P: Places, document_Q: Places) -> Auc:
    """How often a value where a neuron fires is above one elsewhere, equal ones counted half; with the error for values
    of the same document (Obuchowski 1997, "Nonparametric analysis of clustered ROC curve data")."""

    def below(one: Floats, other: Floats) -> Floats:
        ordered = np.sort(other)
        return (np.searchsorted(ordered, one, "left") + np.searchsorted(ordered, one, "right")) / (2 * len(ordered))

    beaten_P, beating_Q = below(firing_P, elsewhere_Q), 1 - below(elsewhere_Q, firing_P)
    auc = float(beaten_P.mean())
    documents, place = np.unique(np.concatenate([document_P, document_Q]), return_inverse=True)
    terms = np.concatenate([(beaten_P - auc) / len(firing_P), (beating_Q - auc) / len(elsewhere_Q)])
    of_document = np.bincount(place, terms)
    n = len(documents)
    return Auc(auc, float(np.sqrt((of_document**2).sum() * n / max(n - 1, 1))))


def correlations(one_FN: Floats, other_FN: Floats) -> Floats:
    """Correlation (F, F) of each row of the one with each of the other; NaN where one does not vary."""
    with np.errstate(invalid="ignore", divide="ignore"):
        units = [
            (x - x.mean(1, keepdims=True)) / (x.std(1, keepdims=True) * np.sqrt(x.shape[1])) for x in (one_FN, other_FN)
        ]
        found: Floats = units[0] @ units[1].T
        return found


class Judge:
    """Scores the neurons of one layer."""

    def __init__(self, acts_FN: Floats, readout: Readout, document_N: Places, seed: int, layer: int):
        self.acts_FN, self.readout, self.document_N = acts_FN, readout, document_N
        self.seed, self.layer = seed, layer
        size = acts_FN.shape[1]
        self.elsewhere_Q = np.sort(generator(seed, "elsewhere").permutation(size)[:ELSEWHERE])

    def score(self, sign: str, means_FD: Tensor) -> list[dict[str, Any]]:
        """Of each neuron's sign: auc and what it is set against. means_FD: of the unembedding's rows of its tokens."""
        turned_FN = turned(self.acts_FN, sign)
        logp_FN = (self.readout.scale * (means_FD @ self.readout.stream_ND.T) - self.readout.total_N).double().numpy()
        return [self._row(number, turned_FN[number], logp_FN, sign) for number in range(len(turned_FN))]

    def _row(self, number: int, acts_N: Floats, logp_FN: Floats, sign: str) -> dict[str, Any]:
        size = len(acts_N)
        order = np.argsort(-acts_N, kind="stable")
        firing_P = order[: max(LEAST, int(FIRES * size))]
        firing_P = firing_P[acts_N[firing_P] > 0]
        elsewhere_Q = np.setdiff1d(self.elsewhere_Q, order[: int(NEAR * size)])
        gates = self.readout.gates.get(self.layer)
        row: dict[str, Any] = {"n_firing": len(firing_P), "n_documents": len(set(self.document_N[firing_P].tolist()))}
        if len(firing_P) < LEAST or not len(elsewhere_Q):
            return row
        if gates is not None:
            row["gate_positive"] = float(gates[number, firing_P].mean())
        documents = self.document_N[firing_P], self.document_N[elsewhere_Q]
        own = auc_of(logp_FN[number, firing_P], logp_FN[number, elsewhere_Q], *documents)
        row |= {"auc": own.value, "auc_low": max(own.value - 1.96 * own.error, 0.0),
                "auc_high": min(own.value + 1.96 * own.error, 1.0)}  # fmt: skip
        others = generator(self.seed, "other tokens", self.layer, number, sign).permutation(len(logp_FN))
        others = others[others != number][:NULLS]
        nulls = [auc_of(logp_FN[n, firing_P], logp_FN[n, elsewhere_Q], *documents).value for n in others]
        if nulls:
            row |= {"auc_null": float(np.mean(nulls)), "auc_percentile": percentile(own.value, np.array(nulls))}
        return row


def percentile(value: float, others: Floats) -> float:
    """Share of the others below a value, equal ones counted half."""
    return float(((others < value) + (others == value) / 2).mean())


def agreement_rows(acts_FN: Floats, effects_FN: Floats) -> list[dict[str, Any]]:
    """Of each neuron: how its activation at a token goes with its effect on that token, among others' effects."""
    r_FF = correlations(acts_FN, effects_FN)
    rows: list[dict[str, Any]] = []
    for number, r_F in enumerate(r_FF):
        own, others = float(r_F[number]), np.delete(r_F, number)
        others = others[np.isfinite(others)]
        if not np.isfinite(own) or not len(others):
            rows.append({})
            continue
        share = percentile(own, others)
        said: str | None = "same" if share >= 1 - SURE else "opposite" if share <= SURE else "neither"
        if len(others) * SURE < 1:
            said = None  # too few to tell
        rows.append({"reads_r": own, "reads_percentile": share, "agreement": said})
    return rows


def judge_output_side(
    subject: WholeModel,
    panel: Panel,
    tables: dict[int, str],
    rules: str,
    seed: int,
    threads: int,
    output: str,
) -> None:
    """Write OUTPUT_SCORES of all described neurons.

    panel: text and activations;
    tables: by layer, OUTPUT_SIDE; rules: file of word lists. Raises ValueError where the panel lacks a neuron.
    """
    model = load_model(subject.folder, subject.dtype, head=True, threads=threads)
    tokenizer = load_tokenizer(subject.folder)
    writers = open_writers(model, subject)
    sides = {layer: read_table(path, OUTPUT_SIDE).to_pylist() for layer, path in tables.items()}
    neurons = {layer: [row["neuron"] for row in rows] for layer, rows in sides.items()}
    gates = Gates({})
    if isinstance(subject.features, MlpNeuronFeatures):
        try:
            gates = find_gates(model, sides, *subject.shape)
        except NoGateError as error:
            logger.info("no gates: %s", error)
    longest = int(panel.lengths.max())
    readout = read_panel(model, panel.corpus, longest, len(panel.sequences), neurons, gates)
    documents = read_table(panel.corpus, CORPUS, columns=["document"])["document"].to_numpy()
    head_VD = model.get_output_embeddings().weight.detach().float().cpu()
    size = min(len(tokenizer), len(head_VD))
    effects_VD = unembedding(model)[:size].cpu()
    effects_VD -= effects_VD.mean(0)
    namer = Namer(vocabulary(tokenizer, size), read_vocabulary(rules), seed)
    distinct_U, place_N = np.unique(panel.ids_N, return_inverse=True)
    found: list[dict[str, Any]] = []
    for layer, rows in progress(sides.items(), len(sides), "layers"):
        acts_FN = panel.acts(layer, neurons[layer]).astype(np.float64)
        columns_FD = writers(layer, neurons[layer]).cpu()
        effects_FU = (columns_FD @ effects_VD[distinct_U].T).double().numpy()
        reads = agreement_rows(acts_FN, effects_FU[:, place_N])
        judge = Judge(acts_FN, readout, documents[panel.sequence_N], seed, layer)
        # What is never negative has one side.
        for sign, end in zip(SIGNS[:1] if subject.features.one_sided else SIGNS, ("top", "bottom")):
            means_FD = torch.stack([head_VD[row[f"{end}_token_ids"]].mean(0) for row in rows])
            for number, score in enumerate(judge.score(sign, means_FD)):
                named, r = namer.name(direction(sign) * (effects_VD @ columns_FD[number]))
                place = {"layer": layer, "neuron": neurons[layer][number], "sign": sign}
                found.append({**place, "description": named.sentence, "description_r": r, **score, **reads[number]})
    found.sort(key=lambda row: (row["layer"], row["neuron"], SIGNS.index(row["sign"])))
    write_table(pa.Table.from_pylist(found, schema=OUTPUT_SCORES), output)
    heard = [row for row in found if row.get("auc") is not None]
    logger.info("%d of %d neurons and signs fire; their tokens rise in %d", len(heard), len(found),
                sum(row["auc_low"] > 0.5 for row in heard))  # fmt: skip
