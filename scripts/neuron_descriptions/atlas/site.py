"""The atlas's pages, which open from disk without a network."""

import base64
import html
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from neuron_descriptions.atlas.details import Details, rounded
from neuron_descriptions.atlas.further import read_atlas
from neuron_descriptions.atlas.tables import ATLAS, ATLAS_UNSIMULATED, COLUMNS
from neuron_descriptions.common.storage import read_table, whole
from neuron_descriptions.common.vocabulary import SIGNS
from neuron_descriptions.corpus.reading import corpus_facts
from neuron_descriptions.descriptions.tables import ACCOUNTS
from neuron_descriptions.panel.tables import TYPES
from neuron_descriptions.scores.columns import Column

PAGES = Path(__file__).parent / "pages"
SCRIPTS = ("helpers", "charts", "neuron", "search", "table", "atlas")  # one script, in this order
SHOWN = [name for name in ATLAS.names if name not in ("layer", "explainer", "simulator", "beats_chance")]
# In Snakemake's report a page stands as a data: address, in base64; Chromium opens none above 2 MiB. The rest of the
# page takes less than 100 kB.
REPORT_BYTES = 1_400_000
REPORT_ROWS = 8000


def write_details(layer: int, details: Details, output: str) -> None:
    """Write a chunk's neurons as a script that the atlas page loads."""
    neurons = [details.neuron(layer, neuron) for neuron in details.neurons]
    with whole(output) as part:
        part.write_text(f"atlasDetails({_json(neurons)});\n")


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
    corpus: dict[str, str],
    atlas: str,
    parts: dict[int, list[str]],
    chunk_size: int,
    accounts: str | None,
    probe: str | None,
    details: list[str],
    rows: list[str],
    output: str,
    report: str,
) -> None:
    """Write the atlas page, the rows that it loads, one file per layer, and a page for Snakemake's report that loads
    nothing.

    parts: layer -> names of its chunks, of chunk_size neurons; accounts: the run's, of which the page shows the sum,
    or None where the descriptions are from elsewhere;
    probe: what the simulator's probe found, where there is a simulator;
    details: of all chunks, in their order; rows: one output per layer, in their order.
    """
    table, further = read_atlas(atlas)
    shown_columns = [name for name in (*SHOWN, *(c.name for c in further)) if name in table.schema.names]
    ranked = "score" if "score" in shown_columns else "direct_score"
    layers: list[dict[str, Any]] = []
    for_report: dict[int, dict[str, list]] = {}
    best = _best(table[ranked])
    for (layer, names), file in zip(parts.items(), rows):
        of_layer = table.filter(pc.equal(table["layer"], layer))
        columns: dict[str, list] = {name: of_layer[name].to_pylist() for name in shown_columns}
        for name in (n for n in shown_columns if pa.types.is_floating(table.schema.field(n).type)):
            columns[name] = [rounded(value) for value in columns[name]]
        columns["part"] = [names[i // (chunk_size * len(SIGNS))] for i in range(len(of_layer))]
        with whole(file) as part:
            part.write_text(f"atlasRows({layer}, {_json(columns)});\n")
        layers.append({"layer": layer, "rows": f"rows/{Path(file).name}", "n_rows": len(of_layer)})
        kept = [best is None or (score is not None and score >= best) for score in of_layer[ranked].to_pylist()]
        for_report[layer] = {name: list(compress(values, kept)) for name, values in columns.items()}
    facts = {split: corpus_facts(path) for split, path in corpus.items()}
    splits = {split: {"sequences": f.sequences, "tokens": f.tokens} for split, f in facts.items()}
    data: dict[str, Any] = {"kind": "atlas", **about, "splits": splits}
    if accounts is not None:
        data["accounting"] = next(row for row in read_table(accounts, ACCOUNTS).to_pylist() if row["layer"] is None)
    if probe is not None:
        data["probe"] = {name: value for name, value in json.loads(Path(probe).read_text()).items() if name != "rules"}
    title = f"{about['run']}: what the {about.get('noun', 'neuron')}s of {about['subject']} respond to"
    _write_page(title, data | {"layers": layers}, output, further)

    files = dict(zip(((layer, name) for layer, names in parts.items() for name in names), details))
    shown = [{"layer": layer, "n_rows": len(columns["neuron"])} for layer, columns in for_report.items()]
    packed = _packed(for_report, _neurons(for_report, files, ranked))
    _write_page(title, data | {"layers": shown, "packed": packed, "total": len(table)}, report, further)


# --- the page in a report ---


def _best(scores: pa.ChunkedArray) -> float | None:
    """The least score of the rows that a report has room for; None: it has room for all."""
    if len(scores) <= REPORT_ROWS:
        return None
    known = scores.drop_null().to_numpy()
    return float(np.sort(known)[-min(REPORT_ROWS, len(known)) :][0]) if len(known) else float("inf")


def _neurons(rows: dict[int, dict[str, list]], files: dict[tuple[int, str], str], ranked: str) -> Iterator[str]:
    """JSON of the neurons, those with the best scores first. files: details by layer and chunk; ranked: the column of
    the scores."""
    best: dict[tuple[int, str, int], float] = {}
    for layer, columns in rows.items():
        for part, neuron, score in zip(columns["part"], columns["neuron"], columns[ranked]):
            key = (layer, part, neuron)
            best[key] = max(best.get(key, -2.0), -2.0 if score is None else score)

    @lru_cache(maxsize=4)
    def chunk(layer: int, part: str) -> dict[int, Any]:
        text = Path(files[layer, part]).read_text()
        neurons = json.loads(text.removeprefix("atlasDetails(").removesuffix(");\n"))
        return {neuron["neuron"]: neuron for neuron in neurons}

    for layer, part, neuron in sorted(best, key=lambda key: -best[key]):
        yield _json(chunk(layer, part)[neuron])


def _packed(rows: dict[int, dict[str, list]], neurons: Iterable[str]) -> str:
    """Rows, and as many neurons as there is room for: gzipped JSON in base64."""
    room = REPORT_BYTES * 3 // 4
    packer = zlib.compressobj(9, wbits=31)
    found = packer.compress(f'{{"rows":{_json(rows)},"details":[null'.encode()) + packer.flush(zlib.Z_SYNC_FLUSH)
    for neuron in neurons:
        longer = packer.copy()
        piece = longer.compress(f",{neuron}".encode()) + longer.flush(zlib.Z_SYNC_FLUSH)
        if len(found) + len(piece) > room:
            break
        packer, found = longer, found + piece
    return base64.b64encode(found + packer.compress(b"]}") + packer.flush()).decode()


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
