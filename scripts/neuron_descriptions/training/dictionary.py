"""A dictionary of one layer, trained on a run's text: a top-k autoencoder (Gao et al. 2024, arXiv:2406.04093) of the
residual stream, or a transcoder (Dunefsky et al. 2024, arXiv:2406.11944) from what the MLP reads to what it writes.

N tokens, D width, S latents, K latents that a token keeps, B sequences of a batch, T tokens of one, V vocabulary.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from neuron_descriptions.common.logs import Progress, logger
from neuron_descriptions.common.storage import whole
from neuron_descriptions.common.streams import key
from neuron_descriptions.config.training import DictionaryTraining
from neuron_descriptions.corpus.reading import corpus_facts
from neuron_descriptions.features.hooks import find_taps
from neuron_descriptions.features.neurons import Tap
from neuron_descriptions.harvest.batches import Batch, read_batches
from neuron_descriptions.harvest.forward import run_layers
from neuron_descriptions.models.loading import load_model

# Kind -> where it reads and what it predicts.
PLACES = {"autoencoder": ("residual_out", "residual_out"), "transcoder": ("mlp_in", "mlp_out")}
BATCH, JUDGED = 32, 64  # sequences of a forward call, and those that the loss is measured on


class TopK(nn.Module):
    """relu(encoder (x - shift) + bias), of which a token keeps the K largest; times decoder, plus offset."""

    def __init__(self, read_ND: Tensor, target_ND: Tensor, latents: int, k: int, random: torch.Generator):
        """Latents begin as single tokens' vectors, so that few are never used. read_ND, target_ND: float32."""
        super().__init__()
        self.k = k
        self.shift_D, self.offset_D = read_ND.mean(0), target_ND.mean(0)
        self.scale = float((read_ND - self.shift_D).square().mean().sqrt())
        self.out_scale = float((target_ND - self.offset_D).square().mean().sqrt())
        chosen = torch.randint(len(read_ND), (latents,), generator=random)
        self.encoder_SD = nn.Parameter(F.normalize(read_ND[chosen] - self.shift_D, dim=1))
        self.bias_S = nn.Parameter(torch.zeros(latents))
        self.decoder_SD = nn.Parameter(F.normalize(target_ND[chosen] - self.offset_D, dim=1))

    def encode(self, read_ND: Tensor) -> tuple[Tensor, Tensor]:
        """(values, latents) (N, K) that tokens keep, in units of the scale."""
        scaled_ND = (read_ND - self.shift_D) / self.scale
        return torch.addmm(self.bias_S, scaled_ND, self.encoder_SD.T).relu().topk(self.k, dim=1, sorted=False)

    def forward(self, read_ND: Tensor) -> Tensor:
        """What it makes of read_ND of target_ND."""
        value_NK, latent_NK = self.encode(read_ND)
        made_ND = F.embedding_bag(latent_NK, self.decoder_SD, per_sample_weights=value_NK, mode="sum")
        return made_ND * self.out_scale + self.offset_D

    def tensors(self) -> dict[str, Tensor]:
        """In sparsify's form and half precision: latents in units of what is read."""
        turned = {
            "encoder.weight": self.encoder_SD,
            "encoder.bias": self.bias_S * self.scale,
            "W_dec": self.decoder_SD * (self.out_scale / self.scale),
        }
        return {name: tensor.detach().half().contiguous() for name, tensor in turned.items()}


def fit(read_ND: Tensor, target_ND: Tensor, settings: DictionaryTraining, seed: int) -> TopK:
    """Train on some tokens, drawn anew for every step: mean squared error relative to the target's variance, Adam, a
    learning rate that falls to zero over the last fifth; decoder rows of norm 1."""
    random = torch.Generator().manual_seed(seed)
    made = TopK(read_ND, target_ND, settings.latents, settings.k, random)
    optimizer = torch.optim.Adam(made.parameters(), lr=settings.learning_rate, betas=(0.9, 0.99))
    progress = Progress(settings.steps, "steps", every=10.0)
    for step in range(settings.steps):
        left = (settings.steps - step) / settings.steps
        optimizer.param_groups[0]["lr"] = settings.learning_rate * min(1.0, 5 * left)
        drawn = torch.randint(len(read_ND), (settings.batch_tokens,), generator=random)
        loss = ((made(read_ND[drawn]) - target_ND[drawn]) / made.out_scale).square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            made.decoder_SD.copy_(F.normalize(made.decoder_SD, dim=1))
        progress.advance(1, f"unexplained {loss.item():.3f}")
    return made


def tokens_of(batch: Batch) -> Tensor:
    """Places of a batch's evidence tokens among its B * T."""
    return batch.evidence_N if batch.valid_V is None else batch.evidence_N[batch.valid_V]


def read_tokens(model: nn.Module, taps: list[Tap], corpus: str) -> list[Tensor]:
    """What some taps of a layer see at a corpus's evidence tokens, (N, D) float32 each; in the order of the pass."""
    facts = corpus_facts(corpus)
    found: list[list[Tensor]] = [[] for _ in taps]

    def take(number: int, seen_BTD: Tensor, batch: Batch) -> None:
        found[number].append(seen_BTD.flatten(0, 1).index_select(0, tokens_of(batch)).float())

    run_layers(model, dict(enumerate(taps)), read_batches(corpus, 0, facts.sequences, BATCH, facts.longest), take)
    return [torch.cat(parts) for parts in found]


@contextmanager
def replaced(tap: Tap, made: dict[str, Any]) -> Iterator[None]:
    """What a tap's module puts out is `made["out"]` (N, D) at the places `made["at"]`, where there is any."""

    def hook(module: nn.Module, args: Any, out: Any) -> Any:
        first = out[0] if isinstance(out, tuple) else out
        new = first.clone()
        new.view(-1, new.shape[-1])[made["at"]] = made["out"].to(new.dtype)
        return (new, *out[1:]) if isinstance(out, tuple) else new

    handle = tap.module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@torch.inference_mode()
def losses(model: nn.Module, taps: list[Tap], made: TopK, corpus: str) -> dict[str, float]:
    """Nats a token of the model as it is, with the dictionary in the place of what it predicts, and with the mean
    there; over the first sequences of a corpus, of tokens that follow an evidence token."""
    facts = corpus_facts(corpus)
    sums, count = dict.fromkeys(("model", "dictionary", "mean"), 0.0), 0
    for batch in read_batches(corpus, 0, min(JUDGED, facts.sequences), BATCH, facts.longest):
        at_N = tokens_of(batch)
        width = batch.input_ids_BT.shape[1]
        follows_N = at_N[(at_N + 1) % width > 0]
        follows_N = follows_N[torch.isin(follows_N + 1, at_N)]
        seen: list[Tensor] = []

        def take(number: int, seen_BTD: Tensor, batch: Batch, seen=seen, at_N=at_N) -> None:
            seen.append(seen_BTD.flatten(0, 1).index_select(0, at_N).float())

        run_layers(model, {0: taps[0]}, [batch], take)
        with_it = {"dictionary": made(seen[0]), "mean": made.offset_D.expand(len(at_N), -1)}
        for name in sums:
            if name == "model":
                logits_BTV = model(input_ids=batch.input_ids_BT, use_cache=False).logits
            else:
                with replaced(taps[-1], {"at": at_N, "out": with_it[name]}):
                    logits_BTV = model(input_ids=batch.input_ids_BT, use_cache=False).logits
            logits_NV = logits_BTV.flatten(0, 1)[follows_N].float()
            sums[name] += float(
                F.cross_entropy(logits_NV, batch.input_ids_BT.flatten()[follows_N + 1], reduction="sum")
            )
        count += len(follows_N)
    return {name: total / count for name, total in sums.items()} | {"tokens": count}


def train_dictionary(
    folder: str, subject: dict[str, Any], corpus: dict[str, str], kind: str, settings: DictionaryTraining, seed: int,
    threads: int, output: str,
) -> None:  # fmt: skip
    """Train a dictionary of a layer on the train text and write it as sparsify does, with a card.

    subject: n_layers, n_neurons, module, dtype, name; corpus: `train`, and `test`, which it is measured on; output: a
    folder, in which the dictionary's is named for its place. Raises ValueError where the model is not what the
    configuration says.
    """
    begun = time.monotonic()
    model = load_model(folder, subject["dtype"], head=True, threads=threads)
    where = [
        find_taps(model, subject["n_layers"], subject["n_neurons"], hook, subject["module"])[settings.layer]
        for hook in dict.fromkeys(PLACES[kind])
    ]
    read_ND, *more = read_tokens(model, where, corpus["train"])
    target_ND = more[0] if more else read_ND
    logger.info("%d tokens of %d numbers read in %.0f s", *read_ND.shape, time.monotonic() - begun)
    made = fit(read_ND, target_ND, settings, key(seed, "dictionary", kind, settings.layer) % 2**63)
    card = measure(model, where, made, corpus, (read_ND, target_ND)) | {
        "subject": subject["name"], "layer": settings.layer, "kind": kind, "latents": settings.latents,
        "k": settings.k, "steps": settings.steps, "train_tokens": len(read_ND), "seed": seed,
        "minutes": round((time.monotonic() - begun) / 60, 1),
    }  # fmt: skip
    name = f"layers.{settings.layer}" + ".mlp" * (kind == "transcoder")
    with whole(output) as part:
        write(made, kind, card, Path(part, name))
    logger.info("%s", json.dumps(card))


def measure(
    model: nn.Module, taps: list[Tap], made: TopK, corpus: dict[str, str], train: tuple[Tensor, Tensor]
) -> dict[str, float]:
    """Figures on test text, but for the share of latents that no train token keeps; train: what was read, target."""
    read_ND, *more = read_tokens(model, taps, corpus["test"])
    target_ND = more[0] if more else read_ND
    with torch.inference_mode():
        left_ND = torch.cat(
            [part_ND - made(seen_ND) for seen_ND, part_ND in zip(read_ND.split(4096), target_ND.split(4096))]
        )
        kept = torch.zeros(len(made.bias_S), dtype=torch.bool)
        for part_ND in train[0].split(4096):
            value_NK, latent_NK = made.encode(part_ND)
            kept[latent_NK[value_NK > 0]] = True
    unexplained = left_ND.square().sum() / (target_ND - target_ND.mean(0)).square().sum()
    loss = losses(model, taps, made, corpus["test"])
    gap = loss["mean"] - loss["model"]
    return {
        "variance_explained": round(1 - float(unexplained), 4),
        "loss_recovered": round((loss["mean"] - loss["dictionary"]) / gap, 4),
        **{f"loss_{name}": round(loss[name], 4) for name in ("model", "dictionary", "mean")},
        "judged_tokens": loss["tokens"],
        "never_used": round(1 - float(kept.float().mean()), 4),
    }


def write(made: TopK, kind: str, card: dict[str, Any], folder: Path) -> None:
    """Write a dictionary and its card."""
    folder.mkdir(parents=True)
    # b_dec is subtracted from what an autoencoder reads; a transcoder's reads as it is, so its shift is in the bias.
    tensors = made.tensors()
    if kind == "transcoder":
        bias_S = made.bias_S * made.scale - made.encoder_SD @ made.shift_D
        tensors["encoder.bias"] = bias_S.detach().half()
    width = made.encoder_SD.shape[1]
    config = {"activation": "topk", "k": made.k, "num_latents": len(made.bias_S), "d_in": width,
              "transcode": kind == "transcoder", "signed": False}  # fmt: skip
    save_file(tensors | {"b_dec": made.offset_D.half()}, folder / "sae.safetensors")
    (folder / "cfg.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "card.json").write_text(json.dumps(card, indent=2) + "\n")
