"""The pool that nulls are drawn from: of some neurons what the run says, and where they peak, named without a model."""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from neuron_descriptions.common.storage import Row, read_table, write_table
from neuron_descriptions.descriptions.evidence import peaks_of
from neuron_descriptions.descriptions.tables import DESCRIPTIONS
from neuron_descriptions.descriptions.tokens import describe_tokens
from neuron_descriptions.harvest.exemplars import ExemplarStore
from neuron_descriptions.models.loading import load_tokenizer
from neuron_descriptions.scores.chance import OTHER, TOKENS
from neuron_descriptions.scores.tables import NULL_POOL

Neurons = dict[int, list[int]]  # by layer
STRONGEST = 10  # exemplars whose tokens are named


def gather_pool(tables: Mapping[str, Sequence[str]], neurons: Neurons, subject: str, output: str) -> None:
    """Write NULL_POOL of the given neurons, by layer, neuron, sign and kind: of each sign the first candidate that has
    a description, and the tokens of its strongest train exemplars, where these can be said.

    tables: descriptions and exemplars that hold the neurons, and others; train, their corpus. subject: its folder.
    """
    found = [*_described(tables["descriptions"], neurons), *_tokens(tables, neurons, subject)]
    found.sort(key=lambda row: tuple(row[name] for name in ("layer", "neuron", "sign", "kind")))
    write_table(pa.Table.from_pylist(found, schema=NULL_POOL), output)


def _described(files: Sequence[str], neurons: Neurons) -> list[Row]:
    rows: dict[tuple[int, int, str], Row] = {}
    wanted = [neuron for of_layer in neurons.values() for neuron in of_layer]
    for path in files:
        for row in read_table(path, DESCRIPTIONS, [("status", "=", "ok"), ("neuron", "in", wanted)]).to_pylist():
            if row["neuron"] in neurons.get(row["layer"], ()):
                place = row["layer"], row["neuron"], row["sign"]
                if place not in rows or row["candidate"] < rows[place]["candidate"]:
                    rows[place] = row
    return [{name: (row | {"kind": OTHER})[name] for name in NULL_POOL.names} for row in rows.values()]


def _tokens(tables: Mapping[str, Sequence[str]], neurons: Neurons, subject: str) -> list[Row]:
    strongest: list[tuple[str, str, object]] = [("kind", "=", "top"), ("rank", "<", STRONGEST)]
    store = ExemplarStore(
        tables["exemplars"], {"train": list(tables["train"])}, strongest,
        lambda layer, neuron: neuron in neurons.get(layer, ()),
    )  # fmt: skip
    tokenizer, found = load_tokenizer(subject), []
    for layer, neuron, sign in store.places():
        said = describe_tokens(peaks_of(tokenizer, store.of(layer, neuron, sign)))
        if said is not None:
            row = {"layer": layer, "neuron": neuron, "sign": sign, "kind": TOKENS, "description": said}
            found.append(row)
    return found
