"""What is published of a layer, checked against the run's settings before anything is fetched."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from typing import Any

from neuron_descriptions.common.logs import logger
from neuron_descriptions.common.storage import whole
from neuron_descriptions.common.stores import BucketOrFolder, Missing, Store, open_store, read_json
from neuron_descriptions.common.vocabulary import SIGNS, SPLITS
from neuron_descriptions.corpus.templates import Template
from neuron_descriptions.imports.arrays import ARRAYS, REQUESTS, Array, array_key, read_header
from neuron_descriptions.models.loading import load_tokenizer, tokenizer_fingerprint


@dataclass(slots=True, frozen=True)
class Wanted:
    """What a run takes the published exemplars for."""

    n_neurons: int
    """Of a layer."""
    model: str | None
    """The subject's repository on the hub; None: it has none."""
    k: int
    n_random: int
    """0: random sequences are not wanted."""
    seq_len: int
    pad_id: int | None = None
    """None: the tokenizer's."""


def check_settings(name: str, found: Any, wanted: dict[str, tuple[str, int]], model: str | None) -> list[str]:
    """The sources' names, in the order of their numbers. Raises ValueError where the exemplars were made with other
    settings than the run's. wanted: the config's key -> (the layout's key, value); model: hub repository."""
    try:
        sources = sorted({source["hf_dataset_id"].rpartition("/")[2] for source in found["hf_dataset_configs"]})
        theirs = {ours: found[key] for ours, (key, _) in wanted.items()}
        kind, their_model = found.get("activation_type", "MLP"), found["hf_model_id"]
        numbers = [int(found[key]) for key in ("num_seqs", "batch_size")]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{name} is not an exemplar configuration: {type(error).__name__} {error}") from None
    if min(numbers) < 1:
        raise ValueError(f"{name}: num_seqs and batch_size are not positive")
    if kind != "MLP":
        raise ValueError(f"{name}: these are exemplars of {kind} features, not of MLP neurons; name another folder")
    if model is not None and _model_name(model) != _model_name(their_model):
        raise ValueError(
            f"{name}: the exemplars are those of {their_model}, the subject is {model}; name another folder or subject"
        )
    other = [
        f"{ours} is {value}, theirs {theirs[ours]}" for ours, (_, value) in wanted.items() if theirs[ours] != value
    ]
    if other:
        raise ValueError(f"{name}: made with other settings than this run's: {'; '.join(other)}; set theirs")
    return sources


def _model_name(repo: str) -> str:
    # The hub renamed Meta-Llama-3.1 to Llama-3.1 and leads from one name to the other.
    return repo.rpartition("/")[2].lower().removeprefix("meta-")


def list_exemplars(
    place: BucketOrFolder,
    layer: int,
    run: Wanted,
    subject_folder: str,
    output: str,
) -> None:
    """Check what is published of a layer against the run's settings, and write which versions of which arrays there
    are, as JSON: parts imported at different times then are parts of the same. With it stands what the parts need to
    know of the subject's tokenizer, so that each need not load it.

    Raises ValueError that names the object that is missing or is not what it should be.
    """
    store = open_store(place)
    wanted = {"exemplars.k": ("k", run.k), "exemplars.seq_len": ("seq_len", run.seq_len)}
    if run.n_random:
        wanted["exemplars.random"] = ("rand_seqs", run.n_random)
    try:
        config = read_json(store, "exemplar_config.json")
    except Missing as error:
        raise ValueError(f"{error}; correct the place under exemplars: a folder of exemplars has this file") from None
    sources = check_settings(store.name("exemplar_config.json"), config, wanted, run.model)
    shapes = {
        array_key(split, kind, layer, sign, name): (name, (run.n_neurons, n) + (run.seq_len,) * (name != "dataset_ids"))
        for split, (kind, n), sign, name in product(SPLITS, (("top", run.k), ("random", run.n_random)), SIGNS, ARRAYS)
        if n
    }

    def header(item: tuple[str, tuple[str, tuple[int, ...]]]) -> Array:
        place, (name, shape) = item
        try:
            return read_header(store, place, ARRAYS[name], shape)
        except Missing as error:
            advice = "fetch all splits of this layer"
            if place.startswith("random_"):
                advice += ", or set exemplars.random and scores.random to 0 to go without random sequences"
            raise ValueError(f"{error}; {advice}") from None

    with ThreadPoolExecutor(REQUESTS) as pool:
        arrays = dict(zip(shapes, pool.map(header, shapes.items())))
        splits = dict(zip(SPLITS, pool.map(lambda s: _split_size(store, s, layer, config), SPLITS)))
    listing = {
        "sources": sources,
        "tokenizer": _tokenizer_facts(subject_folder, run.pad_id),
        "splits": splits,
        "arrays": {
            place: {
                "offset": a.offset,
                "shape": a.shape,
                "dtype": a.dtype,
                "size": a.facts.size,
                "tag": a.facts.tag,
                "fortran": a.fortran,
            }
            for place, a in arrays.items()
        },
    }
    with whole(output) as part:
        part.write_text(json.dumps(listing, indent=1) + "\n")
    logger.info("layer %d: %d arrays in %s", layer, len(arrays), store.name(""))


def _tokenizer_facts(folder: str, pad_id: int | None) -> dict[str, Any]:
    tokenizer = load_tokenizer(folder)
    template = Template(tokenizer)
    pad = next((i for i in (pad_id, tokenizer.pad_token_id, tokenizer.eos_token_id) if i is not None), None)
    if pad is None:
        raise ValueError(f"the tokenizer in {folder} has no padding token; set exemplars.pad_id")
    return {
        "folder": folder,
        "fingerprint": tokenizer_fingerprint(tokenizer),
        "vocabulary": len(tokenizer),
        "pad": pad,
        "prefix": template.prose_prefix,
        "prefixes": template.prefixes(),
    }


def _split_size(store: Store, split: str, layer: int, config: dict[str, Any]) -> dict[str, int]:
    """Sequences and tokens of a split. `step.txt` counts batches from 0, and names the batch that could not be filled
    where a source ran out; the token count of a resumed run counts some twice, so that the windows' size bounds it."""
    numbers = []
    for name in ("step.txt", "num_tokens_seen.txt"):
        place = f"{split}/layer{layer}/{name}"
        try:
            content, _ = store.head(place, 64)
            numbers.append(int(content))
        except Missing as error:
            raise ValueError(f"{error}; fetch all splits of this layer") from None
        except ValueError:
            raise ValueError(f"{store.name(place)} does not hold a number; fetch it anew") from None
    step, tokens = numbers
    full = config["num_seqs"] // config["batch_size"]
    sequences = (step + 1 if step + 1 >= full else step) * config["batch_size"]
    if sequences < 1 or tokens < 1:
        raise ValueError(
            f"{store.name(f'{split}/layer{layer}')}: step.txt or num_tokens_seen.txt says nothing was seen"
        )
    return {"sequences": sequences, "tokens": min(tokens, sequences * config["seq_len"])}
