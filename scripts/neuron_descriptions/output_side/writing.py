"""What neurons write, read off the weights: each one's direct effect on every token's logit.

A neuron adds its activation times its column of the down projection to the residual stream. If no later layer read it,
the logits would change by that column, through the final norm and the unembedding. The norm's weight is folded into the
unembedding, and so is the mean that a LayerNorm takes away; its scale, which depends on the text, is the same for all
tokens and is set to 1. Softmax passes over what all logits share: the mean over the vocabulary is taken away.
This is the logit lens applied to weights (nostalgebraist 2020; Geva et al. 2022, "Transformer feed-forward layers build
predictions by promoting concepts in the vocabulary space"); skew and kurtosis of the effects tell neurons that predict
or suppress tokens from others (Gurnee et al. 2024, "Universal neurons in GPT2 language models").

D the residual stream, V tokens of the vocabulary, I neurons of a layer, N of a block, K tokens kept.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor, nn

from neuron_descriptions.common.logs import progress
from neuron_descriptions.common.storage import write_table
from neuron_descriptions.config.base import restored
from neuron_descriptions.config.features import Features, MlpNeuronFeatures
from neuron_descriptions.features.neurons import down_projections
from neuron_descriptions.models.loading import load_model, load_tokenizer, token_strings
from neuron_descriptions.output_side.tables import OUTPUT_SIDE

BLOCK = 128  # neurons


@dataclass(slots=True, frozen=True)
class WholeModel:
    """The subject with its head, as the configuration has it."""

    folder: str
    n_layers: int
    n_neurons: int
    module: str | None
    dtype: str
    features: Features = field(default_factory=MlpNeuronFeatures)
    """The config's section of that name."""
    files: dict[int, str] = field(default_factory=dict)
    """Layer -> what its features write is read off it: a dictionary as it was published, directions converted."""

    @classmethod
    def of_job(
        cls, folder: str, params: Mapping[str, Any], layers: Sequence[int], files: Sequence[str]
    ) -> "WholeModel":
        """The subject that a rule's params name. params: architecture and, of other features than neurons, features;
        and inside, places in the layers' folders, where these were fetched; files: one for each layer, or none."""
        inside = params.get("inside") or [""] * len(files)
        places = [f"{file}/{place}".rstrip("/") for file, place in zip(files, inside, strict=True)]
        features = restored(Features, params.get("features", {}))
        return cls(folder, **params["architecture"], features=features, files=dict(zip(layers, places)))

    @property
    def shape(self) -> tuple[int, int, str | None]:
        """What down_projections finds its neurons by."""
        return self.n_layers, self.n_neurons, self.module


def write_output_side(
    subject: WholeModel,
    neurons: dict[int, list[int]],
    n_tokens: int,
    threads: int,
    outputs: dict[int, str],
) -> None:
    """Write a table OUTPUT_SIDE for each layer.

    neurons: by layer; n_tokens: kept at each end; outputs: by layer. Raises ValueError where the model's logits are not
    what is read off its weights (`check_readout`).
    """
    model = load_model(subject.folder, subject.dtype, head=True, threads=threads)
    tokenizer = load_tokenizer(subject.folder)
    writers = open_writers(model, subject)
    known = min(len(tokenizer), model.get_output_embeddings().weight.shape[0])
    check_readout(model, tokenizer("The first of these, and the last")["input_ids"])
    readout_VD = unembedding(model)[:known]
    readout_VD = readout_VD - readout_VD.mean(0)
    texts = vocabulary(tokenizer, known)
    for layer, wanted in progress(neurons.items(), len(neurons), "layers"):
        columns_ID = writers(layer, wanted)
        rows: dict[str, list[Any]] = {name: [] for name in OUTPUT_SIDE.names} | {
            "layer": [layer] * len(wanted),
            "neuron": wanted,
        }
        for first in range(0, len(wanted), BLOCK):
            for name, values in _ends(columns_ID[first : first + BLOCK] @ readout_VD.T, n_tokens).items():
                rows[name] += values
        for end in ("top", "bottom"):
            rows[f"{end}_tokens"] = [[texts[i] for i in ids] for ids in rows[f"{end}_token_ids"]]
        write_table(pa.Table.from_pydict(rows, schema=OUTPUT_SIDE), outputs[layer])


def vocabulary(tokenizer: Any, size: int) -> list[str]:
    """The text of each token by itself; of a token that is no whole character, its form in the vocabulary."""
    found = [token_strings(tokenizer, [i])[0] for i in range(size)]
    forms = tokenizer.convert_ids_to_tokens(list(range(size)))
    return [form if not text or "\ufffd" in text else text for text, form in zip(found, forms)]


def _ends(effects_NV: Tensor, n_tokens: int) -> dict[str, list[Any]]:
    """Columns of OUTPUT_SIDE, of effects whose mean over the vocabulary is 0."""
    squares_NV = effects_NV * effects_NV
    size = effects_NV.shape[1]
    second_N, third_N, fourth_N = (
        torch.einsum("nv,nv->n", a_NV, b_NV) / size
        for a_NV, b_NV in ((effects_NV, effects_NV), (squares_NV, effects_NV), (squares_NV, squares_NV))
    )
    std_N = second_N.sqrt()
    columns: dict[str, list[Any]] = {
        "std": std_N.tolist(),
        "skew": (third_N / std_N**3).nan_to_num().tolist(),  # a column of zeros writes nothing
        "kurtosis": (fourth_N / second_N**2 - 3).nan_to_num().tolist(),
    }
    for end, largest in (("top", True), ("bottom", False)):
        best_NK = effects_NV.topk(min(n_tokens, size), largest=largest)
        columns |= {f"{end}_token_ids": best_NK.indices.tolist(), f"{end}_effects": best_NK.values.tolist()}
    return columns


# --- the way from a neuron to the logits ---

# Of a layer and some of its features: what each adds to the residual stream for a unit of activation, (F, D) float32.
Writers = Callable[[int, list[int]], Tensor]


def open_writers(model: Any, subject: WholeModel) -> Writers:
    """What the subject's features write. Raises ValueError where that is not defined."""
    if isinstance(subject.features, MlpNeuronFeatures):
        projections = down_projections(model, *subject.shape)
        return lambda layer, neurons: written(model, projections[layer])[neurons]
    from neuron_descriptions.output_side.decoded import open_decoded

    return open_decoded(model, subject)


def written(model: nn.Module, projection: nn.Module) -> Tensor:
    """What each neuron of a layer adds to the residual stream for a unit of activation, (I, D), float32.

    Of a torch Linear these are the columns of its weight, of GPT-2's Conv1D the rows. Where the block norms its MLP's
    output (Gemma, OLMo 2), that norm's weight is folded in; its scale is left out like the final norm's.
    """
    weight = projection.get_parameter("weight").detach().float()
    columns_ID = weight if type(projection).__name__ == "Conv1D" else weight.T
    name = next(name for name, module in model.named_modules() if module is projection)
    block = model.get_submodule(name.rpartition(".")[0].rpartition(".")[0])
    after = getattr(block, "post_feedforward_layernorm", None)
    return columns_ID if after is None else folded(columns_ID, after)


def unembedding(model: Any) -> Tensor:
    """What each direction of the residual stream before the final norm adds to the logits, (V, D), float32: the output
    embeddings, which may be the input's (tied), with the final norm folded in."""
    head_VD = model.get_output_embeddings().weight.detach().float()
    norm = final_norm(model)
    return head_VD if norm is None else folded(head_VD, norm)


def folded(rows_XD: Tensor, norm: nn.Module) -> Tensor:
    """Rows as they read, or as they write through, a norm whose scale is 1: times its weight, and for a norm that takes
    away the mean, without what the mean of a stream adds. The weight is read off the norm's outputs for x and -x, since
    families store it in several ways (Gemma's stands for 1 + weight). Raises ValueError where the width is odd."""
    weight, size = norm.get_parameter("weight"), rows_XD.shape[1]
    if size % 2:
        raise ValueError(f"output_side: a residual stream of an odd width ({size}) is not supported")
    probe_D = torch.ones(size, device=weight.device)
    probe_D[1::2] = -1  # of mean 0 and scale 1
    sides_3D = torch.stack([probe_D, -probe_D, torch.ones_like(probe_D)]).to(weight.dtype)
    with torch.no_grad():
        plus_D, minus_D, same_D = norm(sides_3D).float()
    bias_D, gain_D = (plus_D + minus_D) / 2, (plus_D - minus_D) / 2
    centres = (same_D - bias_D).abs().max() < 1e-2 * gain_D.abs().max()  # a LayerNorm leaves nothing of ones
    read_XD: Tensor = rows_XD * (gain_D * probe_D).to(rows_XD.device)
    return read_XD - read_XD.mean(1, keepdim=True) if centres else read_XD


def final_norm(model: Any) -> nn.Module | None:
    """The last module beside the stack of layers that has a weight as wide as the residual stream, and nothing else but
    a bias; None: the model has none."""
    width = model.get_output_embeddings().weight.shape[1]
    stacks = {n: m for n, m in model.named_modules() if isinstance(m, nn.ModuleList) and len(m) > 1}
    name = max(stacks, key=lambda name: len(stacks[name]))
    beside = model.get_submodule(name.rpartition(".")[0])
    shapes = {m: {n: tuple(p.shape) for n, p in m.named_parameters()} for m in beside.children()}
    found = [
        m for m, shape in shapes.items() if shape in ({"weight": (width,)}, {"weight": (width,), "bias": (width,)})
    ]
    return found[-1] if found else None


def check_readout(model: Any, ids: list[int]) -> None:
    """Raises ValueError where a text's logits are not what the last layer's output gives through the final norm and the
    unembedding, up to a scale (and a soft cap, which keeps the order): of such a model the weights alone do not say
    what a neuron writes."""
    device = next(model.parameters()).device
    norm, head = final_norm(model), model.get_output_embeddings()
    seen: list[Tensor] = []
    hook = (norm or head).register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    try:
        with torch.no_grad():
            logits_TV = model(input_ids=torch.tensor([ids], device=device), use_cache=False).logits[0].float()
    finally:
        hook.remove()
    stream_TD = seen[0].reshape(-1, seen[0].shape[-1])[-len(ids) :].float()
    expected_TV = stream_TD @ unembedding(model).T
    one_TV, other_TV = (x_TV - x_TV.mean(1, keepdim=True) for x_TV in (logits_TV, expected_TV))
    agreement_T = nn.functional.cosine_similarity(one_TV, other_TV, dim=1)
    if agreement_T.min() < 0.98:
        raise ValueError(
            f"output_side: the logits of {type(model).__name__} are not its final norm and unembedding of the last"
            f" layer's output (agreement {agreement_T.min():.2f}); leave the section out for this model"
        )
