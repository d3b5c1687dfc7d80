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

from neuron_descriptions.common.logs import Progress, logger, progress
from neuron_descriptions.common.storage import whole
from neuron_descriptions.common.streams import key
from neuron_descriptions.config.training import DictionaryTraining
from neuron_descriptions.corpus.reading import corpus_facts
from neuron_descriptions.features.hooks import find_taps
from neuron_descriptions.features.neurons import Tap
from neuron_descriptions.harvest.batches import Batch, read_batches
from neuron_descriptions.harvest.forward import run_layers
from neuron_descriptions.harvest.subject import Subject
from neuron_descriptions.models.loading import load_model

# Kind -> where it reads and what it predicts.
PLACES = {"autoencoder": ("residual_out", "residual_out"), "transcoder": ("mlp_in", "mlp_out")}
HOOKS = ("mlp_in", "mlp_out", "residual_out")  # in the order of a pass
BATCH, JUDGED = 32, 32  # sequences of a forward call, and those that figures are measured on
BLOCK = 4096  # tokens that are held in float32 at a time
# What stands in the place of what a dictionary predicts.
INSTEAD = ("dictionary", "zero", "mean")


class TopK(nn.Module):
    """relu(encoder (x - shift) + bias), of which a token keeps the K largest; times decoder, plus offset."""

    def __init__(self, read_ND: Tensor, target_ND: Tensor, latents: int, k: int, random: torch.Generator):
        """Latents begin as single tokens' vectors, so that few are never used. read_ND, target_ND: any float dtype."""
        super().__init__()
        self.k = k
        self.shift_D, self.scale = spread(read_ND)
        self.offset_D, self.out_scale = spread(target_ND)
        chosen = torch.randint(len(read_ND), (latents,), generator=random)
        self.encoder_SD = nn.Parameter(F.normalize(read_ND[chosen].float() - self.shift_D, dim=1))
        self.bias_S = nn.Parameter(torch.zeros(latents))
        self.decoder_SD = nn.Parameter(F.normalize(target_ND[chosen].float() - self.offset_D, dim=1))
        # As long as makes the first reconstruction the best multiple of itself: K vectors that point alike add up.
        with torch.no_grad():
            made_ND = self(read_ND[chosen].float()) - self.offset_D
            wanted_ND = target_ND[chosen].float() - self.offset_D
            self.encoder_SD.mul_((made_ND * wanted_ND).sum() / made_ND.square().sum())

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


def spread(tokens_ND: Tensor) -> tuple[Tensor, float]:
    """(mean (D) float32, root mean square of what is left without it) over tokens, added up in float64."""
    total_D = sum(part_ND.double().sum(0) for part_ND in tokens_ND.split(BLOCK))
    mean_D = total_D / len(tokens_ND)
    squares = sum(float((part_ND.double() - mean_D).square().sum()) for part_ND in tokens_ND.split(BLOCK))
    return mean_D.float(), (squares / tokens_ND.numel()) ** 0.5


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
        wanted_ND = target_ND[drawn].float()
        loss = ((made(read_ND[drawn].float()) - wanted_ND) / made.out_scale).square().mean()
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


def read_tokens(model: nn.Module, taps: dict[str, Tap], corpus: str, sequences: int | None = None) -> dict[str, Tensor]:
    """What the taps of a layer (by their hook points, in the order of a pass) see at a corpus's evidence tokens: (N, D)
    each, in the model's dtype, of the first `sequences`, or of all. One pass, which ends with the last tap."""
    facts = corpus_facts(corpus)
    found: list[list[Tensor]] = [[] for _ in taps]
    last = min(sequences or facts.sequences, facts.sequences)

    def take(number: int, seen_BTD: Tensor, batch: Batch) -> None:
        found[number].append(seen_BTD.flatten(0, 1).index_select(0, tokens_of(batch)))

    batches = read_batches(corpus, 0, last, BATCH, facts.longest)
    counted = progress(batches, facts.longest * last, "tokens", size=lambda batch: batch.evidence_N.numel())
    run_layers(model, dict(enumerate(taps.values())), counted, take)
    return {hook: torch.cat(parts) for hook, parts in zip(taps, found)}


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
def losses(
    model: nn.Module, taps: dict[str, Tap], made: dict[str, TopK], seen: dict[str, Tensor], corpus: str
) -> tuple[dict[str, dict[str, float]], int]:
    """({kind: nats a token}, tokens): of the model as it is, and with the dictionary, zero, or the mean in the place of
    what a dictionary predicts, at evidence tokens.

    seen: what `read_tokens` gives of the first JUDGED sequences. Of tokens that follow an evidence token.
    """
    facts = corpus_facts(corpus)
    sums = {kind: dict.fromkeys(("model", *INSTEAD), 0.0) for kind in made}
    count = begun = 0
    for batch in read_batches(corpus, 0, min(JUDGED, facts.sequences), BATCH, facts.longest):
        at_N = tokens_of(batch)
        here, begun = slice(begun, begun + len(at_N)), begun + len(at_N)
        follows_N = at_N[(at_N + 1) % batch.input_ids_BT.shape[1] > 0]
        follows_N = follows_N[torch.isin(follows_N + 1, at_N)]
        plain = _loss(model, batch, follows_N)
        for kind, dictionary in made.items():
            reads, writes = PLACES[kind]
            mean_ND = dictionary.offset_D.expand(len(at_N), -1)
            outs = dictionary(seen[reads][here].float()), torch.zeros_like(mean_ND), mean_ND
            sums[kind]["model"] += plain
            for name, out_ND in zip(INSTEAD, outs):
                with replaced(taps[writes], {"at": at_N, "out": out_ND}):
                    sums[kind][name] += _loss(model, batch, follows_N)
        count += len(follows_N)
    return {kind: {name: total / count for name, total in of.items()} for kind, of in sums.items()}, count


def _loss(model: nn.Module, batch: Batch, follows_N: Tensor) -> float:
    """Nats that a batch's tokens after some places cost, summed."""
    hidden_BTV = model(input_ids=batch.input_ids_BT, use_cache=False).logits
    logits_NV = hidden_BTV.flatten(0, 1)[follows_N].float()
    return float(F.cross_entropy(logits_NV, batch.input_ids_BT.flatten()[follows_N + 1], reduction="sum"))


def train_dictionaries(
    subject: Subject,
    name: str,
    corpus: dict[str, str],
    settings: DictionaryTraining,
    seed: int,
    threads: int,
    outputs: dict[str, str],
) -> None:
    """Train the dictionaries of a layer on the train text, which is read once, and write them as sparsify does, each
    with a card.

    name: the subject's; corpus: `train`, and `test`, which they are measured on; outputs: kind -> a folder, in which
    the dictionary's is named for its place. Raises ValueError where the model is not what the configuration says.
    """
    begun = time.monotonic()
    model = load_model(subject.folder, subject.dtype, head=True, threads=threads)
    taps = {
        hook: find_taps(model, subject.n_layers, subject.n_neurons, hook, subject.module)[settings.layer]
        for hook in HOOKS
    }
    seen = read_tokens(model, taps, corpus["train"], settings.sequences)
    logger.info("%d tokens read in %.0f s", len(seen["mlp_in"]), time.monotonic() - begun)
    made = fit_all(seen, settings, seed)
    cards = measure(model, taps, made, seen, corpus["test"])
    for kind, output in outputs.items():
        card = {"subject": name, "kind": kind, **settings.model_dump(), "seed": seed} | cards[kind]
        place = f"layers.{settings.layer}" + ".mlp" * (kind == "transcoder")
        with whole(output) as part:
            write(made[kind], kind, card, Path(part, place))
        logger.info("%s", json.dumps(card))


def fit_all(seen: dict[str, Tensor], settings: DictionaryTraining, seed: int) -> dict[str, TopK]:
    """Train each kind on what the taps saw; each is a function of the seed, its kind and the layer."""
    return {
        kind: fit(seen[reads], seen[writes], settings, key(seed, "dictionary", kind, settings.layer) % 2**63)
        for kind, (reads, writes) in PLACES.items()
    }


@torch.inference_mode()
def measure(
    model: nn.Module, taps: dict[str, Tap], made: dict[str, TopK], train: dict[str, Tensor], corpus: str
) -> dict[str, dict[str, float]]:
    """Figures by kind. On the first JUDGED sequences of `corpus`: variance explained, latents above 0 a token (L0), and
    the loss recovered: of what zeros in the place of what is predicted lose against the model, the share that the
    dictionary does not lose; and the same of the mean. Of `train`, what the taps saw of the train text: tokens, and the
    share of latents that none of them keeps."""
    test = read_tokens(model, taps, corpus, JUDGED)
    loss, tokens = losses(model, taps, made, test, corpus)
    found = {}
    for kind, dictionary in made.items():
        reads, writes = PLACES[kind]
        left = kept = 0.0
        for read_ND, target_ND in zip(test[reads].split(BLOCK), test[writes].split(BLOCK)):
            left += float((target_ND.float() - dictionary(read_ND.float())).double().square().sum())
            kept += int((dictionary.encode(read_ND.float())[0] > 0).sum())
        used_S = torch.zeros(len(dictionary.bias_S), dtype=torch.bool)
        for read_ND in train[reads].split(BLOCK):
            value_NK, latent_NK = dictionary.encode(read_ND.float())
            used_S[latent_NK[value_NK > 0]] = True
        of, all_left = loss[kind], spread(test[writes])[1] ** 2 * test[writes].numel()
        lost = of["dictionary"] - of["model"]
        found[kind] = {
            "train_tokens": len(train[reads]),
            "test_tokens": len(test[reads]),
            "variance_explained": round(1 - left / all_left, 4),
            "l0": round(kept / len(test[reads]), 2),
            "dead": round(1 - float(used_S.float().mean()), 4),
            "loss_recovered": round(1 - lost / (of["zero"] - of["model"]), 4),
            "loss_recovered_of_mean": round(1 - lost / (of["mean"] - of["model"]), 4),
            **{f"loss_{name}": round(nats, 4) for name, nats in of.items()},
            "loss_tokens": tokens,
        }
    return found


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
