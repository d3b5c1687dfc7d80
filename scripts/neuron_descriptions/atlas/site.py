"""The atlas's pages, which open from disk without a network."""

import base64
import html
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from neuron_descriptions.atlas.browsing import description_order, first_screen, pack_rows, ranked_by
from neuron_descriptions.atlas.charting import charts
from neuron_descriptions.atlas.details import Details
from neuron_descriptions.atlas.further import read_atlas
from neuron_descriptions.atlas.packing import PART, read_neurons, script, write_neurons
from neuron_descriptions.atlas.tables import ATLAS, ATLAS_UNSIMULATED, COLUMNS
from neuron_descriptions.atlas.words import Words
from neuron_descriptions.common.storage import read_table, whole
from neuron_descriptions.common.vocabulary import SPLITS
from neuron_descriptions.corpus.reading import corpus_facts
from neuron_descriptions.descriptions.tables import ACCOUNTS
from neuron_descriptions.panel.tables import TYPES
from neuron_descriptions.scores.columns import Column

PAGES = Path(__file__).parent / "pages"
SCRIPTS = (
    "helpers",
    "packed",
    "words",
    "charts",
    "graphs",
    "feature",
    "neuron",
    "search",
    "semantic",
    "table",
    "atlas",
)  # one script, in this order
# In Snakemake's report a page stands as a data: address, in base64; Chromium opens none above 2 MiB. The rest of the
# page takes less than 100 kB.
REPORT_BYTES = 1_400_000
REPORT_ROWS = 8000


def write_details(layer: int, details: Details, output: str) -> None:
    """Write a chunk's neurons as a folder of scripts that the atlas page loads: 0.js, 1.js ..., PART neurons each."""
    with whole(output) as part:
        write_neurons([details.neuron(layer, neuron) for neuron in details.neurons], part)


def write_neuron_page(about: dict[str, str], layer: int, details: Details, output: str) -> None:
    """Write the page of one neuron, all in one file. about: run, subject, explainer, simulator (without one: chosen,
    what chose the descriptions), and noun, what a feature is called."""
    neuron = details.neurons[0]
    data = {"kind": "neuron", **about, "neuron": details.neuron(layer, neuron)}
    further = list(details.added.columns.values())
    title = f"Layer {layer}, {about.get('noun', 'neuron')} {neuron} of {about['subject']}"
    _write_page(title, data, output, further)


def write_atlas_page(
    about: dict[str, str],
    inputs: Mapping[str, Any],
    parts: dict[int, list[str]],
    chunk_size: int,
    outputs: Mapping[str, Any],
) -> None:
    """Write the atlas page, the rows that it loads, one file per layer, and a page for Snakemake's report that loads
    nothing.

    inputs: atlas, the corpus by its splits, details (folders of all chunks, in their order), accounts (of which the
    page shows the sum), if the descriptions are not from elsewhere, and probe, if there is a simulator; parts: layer ->
    names of its chunks, of chunk_size neurons; outputs: words (of all descriptions), rows (one file per layer, in
    their order), page and report.
    """
    table, further = read_atlas(inputs["atlas"])
    ranked = ranked_by(table)
    descriptions = table["description"].to_pylist()
    order, vocabulary = description_order(descriptions), Words(descriptions)
    with whole(outputs["words"]) as part:
        part.write_bytes(script("atlasRows", vocabulary.pack()))
    places: list[str] = []  # of every row, where its details are
    layers: list[dict[str, Any]] = []
    for_report: list[tuple[pa.Table, np.ndarray, list[str]]] = []
    best = _best(table[ranked])
    for (layer, names), file in zip(parts.items(), outputs["rows"]):
        inside = pc.equal(table["layer"], layer)
        of_layer, own = table.filter(inside), order[inside.to_numpy()]
        found = _places(of_layer["neuron"].to_numpy(), names, chunk_size)
        places += found
        with whole(file) as part:
            part.write_bytes(script("atlasRows", pack_rows(of_layer, own, found, vocabulary)))
        layers.append({"layer": layer, "rows": f"rows/{Path(file).name}", "n_rows": len(of_layer)})
        kept = np.array([best is None or (s is not None and s >= best) for s in of_layer[ranked].to_pylist()], bool)
        for_report.append((of_layer.filter(pa.array(kept)), own[kept], list(compress(found, kept))))
    facts = {split: corpus_facts(path) for split, path in inputs.items() if split in SPLITS}
    splits = {split: {"sequences": f.sequences, "tokens": f.tokens} for split, f in facts.items()}
    data: dict[str, Any] = {"kind": "atlas", **about, "splits": splits}
    accounts, probe = inputs.get("accounts"), inputs.get("probe")
    spent = read_table(accounts, ACCOUNTS).to_pylist() if accounts else []
    if spent:
        data["accounting"] = next(row for row in spent if row["layer"] is None)
    data["charts"] = charts(table.filter(pc.field("status") == "ok"), spent)
    if probe:
        data["probe"] = {name: value for name, value in json.loads(Path(probe).read_text()).items() if name != "rules"}
    title = f"{about['run']}: what the {about.get('noun', 'neuron')}s of {about['subject']} respond to"
    _write_page(title, data | {"layers": layers, "first": first_screen(table, places)}, outputs["page"], further)

    folders = dict(zip(((layer, name) for layer, names in parts.items() for name in names), inputs["details"]))
    shown = [{"layer": one["layer"], "n_rows": len(rows)} for one, (rows, _, _) in zip(layers, for_report)]
    own_words = Words(text for rows, _, _ in for_report for text in rows["description"].to_pylist())
    packed_rows = [pack_rows(*one, own_words) for one in for_report]
    packed = _packed(own_words.pack(), packed_rows, _neurons(for_report, folders))
    _write_page(title, data | {"layers": shown, "packed": packed, "total": len(table)}, outputs["report"], further)


def _places(neurons: np.ndarray, names: list[str], chunk_size: int) -> list[str]:
    """Where the details of each row of a layer are: <chunk>/<part of it>."""
    numbers = np.unique(neurons, return_inverse=True)[1].tolist()
    return [f"{names[i // chunk_size]}/{i % chunk_size // PART}" for i in numbers]


# --- the page in a report ---


def _best(scores: pa.ChunkedArray) -> float | None:
    """The least score of the rows that a report has room for; None: it has room for all."""
    if len(scores) <= REPORT_ROWS:
        return None
    known = scores.drop_null().to_numpy()
    return float(np.sort(known)[-min(REPORT_ROWS, len(known)) :][0]) if len(known) else float("inf")


def _neurons(rows: list[tuple[pa.Table, np.ndarray, list[str]]], folders: dict[tuple[int, str], str]) -> Iterator[str]:
    """JSON of the neurons, those with the best scores first. folders: details by layer and chunk."""
    best: dict[tuple[int, str, int], float] = {}
    for table, _, places in rows:
        columns = (table[name].to_pylist() for name in ("layer", "neuron", ranked_by(table)))
        for layer, neuron, score, place in zip(*columns, places):
            key = (layer, place, neuron)
            best[key] = max(best.get(key, -2.0), -2.0 if score is None else score)

    @lru_cache(maxsize=4)
    def members(layer: int, place: str) -> dict[int, Any]:
        chunk, number = place.split("/")
        return {neuron["neuron"]: neuron for neuron in read_neurons(f"{folders[layer, chunk]}/{number}.js")}

    for layer, place, neuron in sorted(best, key=lambda key: -best[key]):
        yield _json(members(layer, place)[neuron])


def _packed(words: bytes, rows: list[bytes], neurons: Iterable[str]) -> dict[str, Any]:
    """Packed words and rows, and as many neurons as there is room for (gzipped JSON), in base64."""
    said, *encoded = (base64.b64encode(data).decode() for data in (words, *rows))
    room = (REPORT_BYTES - len(said) - sum(map(len, encoded))) * 3 // 4
    packer = zlib.compressobj(9, wbits=31)
    found = packer.compress(b"[null") + packer.flush(zlib.Z_SYNC_FLUSH)
    for neuron in neurons:
        longer = packer.copy()
        piece = longer.compress(f",{neuron}".encode()) + longer.flush(zlib.Z_SYNC_FLUSH)
        if len(found) + len(piece) > room:
            break
        packer, found = longer, found + piece
    details = base64.b64encode(found + packer.compress(b"]") + packer.flush()).decode()
    return {"words": said, "rows": encoded, "details": details}


# --- writing ---


def _json(data: Any) -> str:
    # No "<": a text with "</script>" or "<!--" would end or swallow the script that it stands in.
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


def _write_page(title: str, data: dict[str, Any], output: str, further: Sequence[Column] = ()) -> None:
    import jinja2

    template = jinja2.Template((PAGES / "atlas.html").read_text())
    known = ATLAS.names if "simulator" in data else ATLAS_UNSIMULATED.names
    columns = [*(column for column in COLUMNS if column.name in known), *further]
    page = template.render(
        title=html.escape(title),
        css=(PAGES / "atlas.css").read_text(),
        js="\n".join((PAGES / f"{name}.js").read_text() for name in SCRIPTS),
        types=TYPES,
        columns={column.name: column for column in columns},
        data=_json(data),
    )
    with whole(output) as part:
        part.write_text(page)
