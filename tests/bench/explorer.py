"""The explorer at the size of Llama-3.1-8B: 458,752 neurons of two signs, at the published settings, made up of the
demo's own sequences, activations, predictions, sentences and scores; measured in the Chromium that the tests use.

A made-up sequence is 65 tokens in a row of the demo's text, from a place of its own, with the activations of a real
sequence of its kind in another order; a sentence is a real one, whose quoted tokens are drawn anew from the text.
"""

import random
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa

from common import ROOT, demo_config
from neuron_descriptions.atlas.tables import ATLAS
from neuron_descriptions.common.storage import read_parquet, read_table, write_table

LAYERS, NEURONS, CHUNK = 32, 14336, 448
TEXT = 65  # tokens of a sequence of 95 without the template's prefix
CANDIDATES = 50
SCORED = {"top": 20, "middle": 5, "random": 5}
SOURCE_TEXT = 2_000_000  # characters of each of the demo's sources


class Real:
    """What the finished demo has: neurons as pages show them, tokens in a row, sentences."""

    def __init__(self, results: Path, folder: str):
        """results: of the demo; folder: of its model."""
        from neuron_descriptions.atlas.details import Details
        from neuron_descriptions.common.vocabulary import SPLITS
        from neuron_descriptions.models.loading import load_tokenizer, token_strings

        corpus = {split: str(results / f"corpus/{split}.parquet") for split in SPLITS}
        self.neurons: list[dict[str, Any]] = []
        self.sentences: list[str] = []
        for path in sorted(results.glob("descriptions/layer-*/chunk-*.parquet")):
            described = read_parquet(path)
            self.sentences += sorted(set(described["description"].drop_null().to_pylist()))
            layer, part = int(path.parent.name.split("-")[1]), path.stem
            evidence = results / f"exemplars/layer-{layer}"
            tables: dict[str, Any] = {
                "descriptions": str(path),
                "exemplars": [str(evidence / f"{part}.parquet")],
                "statistics": [str(evidence / f"statistics-{part}.parquet")],
                "scores": str(results / f"scores/layer-{layer}/{part}.parquet"),
                "simulations": str(results / f"scores/layer-{layer}/simulations-{part}.parquet"),
                "panel_test": str(results / "corpus/panel_test.parquet"),
                "panel_test_acts": str(results / f"panel/panel_test/layer-{layer}.safetensors"),
            }
            neurons = sorted(set(described["neuron"].to_pylist()))
            details = Details(neurons, corpus, tables, folder, n_exemplars=10)
            self.neurons += [details.neuron(layer, neuron) for neuron in neurons]
        tokenizer = load_tokenizer(folder)
        self.windows: list[list[str]] = []
        for path in sorted((ROOT / "resources/documents").glob("*.parquet")):
            ids = tokenizer(_text(path), split_special_tokens=True)["input_ids"]
            tokens = token_strings(tokenizer, ids)
            self.windows += [tokens[at : at + TEXT] for at in range(0, len(tokens) - TEXT, TEXT)]
        self.words = sorted(
            {token.strip() for window in self.windows for token in window if re.fullmatch(r" [\w']+", token)}
        )


def _text(path: Path) -> str:
    """The beginning of a source's documents."""
    rows = read_parquet(path).to_pylist()
    texts = (r["text"] or "\n".join(m["content"] for m in r["messages"]) for r in rows)
    return "\n".join(texts)[:SOURCE_TEXT]


class MadeUp:
    """Neurons and sentences drawn from those."""

    def __init__(self, real: Real, seed: int):
        self.real, self.random = real, random.Random(seed)
        self.unused: list[list[str]] = []

    def sentence(self, like: str | None = None, words: list[str] | None = None) -> str:
        """A real sentence, its quoted tokens drawn anew."""
        choices = words or self.real.words
        like = like or self.random.choice(self.real.sentences)
        return re.sub(r'"[^"]*"', lambda _: f'"{self.random.choice(choices)}"', like)

    def text(self) -> dict[str, Any]:
        """A sequence that no other has until all have been taken."""
        if not self.unused:
            self.unused = self.random.sample(self.real.windows, len(self.real.windows))
        return {"seq_id": self.random.randrange(1_000_000), "source": "fineweb", "tokens": self.unused.pop()}

    def values(self, like: list[dict[str, Any]], kind: str, name: str) -> list[float]:
        """Values of some real records of a kind, drawn at random."""
        values = [v for record in like if record["kind"] == kind for v in record[name]]
        return self.random.choices(values, k=TEXT)

    def neuron(self, layer: int, number: int) -> dict[str, Any]:
        """A neuron with as much to show as one of the published settings."""
        real = self.random.choice([n for n in self.real.neurons if all(s["simulated"] for s in n["signs"].values())])
        signs = {name: self._sign(sign) for name, sign in real["signs"].items()}
        alike = [[self.random.randrange(LAYERS), self.random.randrange(NEURONS), round(self.random.uniform(-1, 1), 3)]
                 for _ in range(10)]  # fmt: skip
        return {**real, "layer": layer, "neuron": number, "signs": signs, "neighbours": alike}

    def _sign(self, sign: dict[str, Any]) -> dict[str, Any]:
        held: dict[tuple[str, str, int], dict[str, Any]] = {}

        def record(split: str, kind: str, rank: int) -> dict[str, Any]:
            if (split, kind, rank) not in held:
                found = {"split": split, "kind": kind, "rank": rank, **self.text()}
                held[split, kind, rank] = found | {"activations": self.values(sign["exemplars"], kind, "activations")}
            return held[split, kind, rank]

        exemplars = [record(r["split"], r["kind"], r["rank"]) for r in sign["exemplars"]]
        scored = [record("test", kind, rank) for kind, n in SCORED.items() for rank in range(n)]
        words = self.random.sample(self.real.words, 12)  # candidates of a neuron have most of theirs in common
        likes = self.random.sample(self.real.sentences, 3)
        candidates = []
        for i in range(CANDIDATES):
            found = round(self.random.uniform(-0.1, 0.7), 3)
            candidates.append(
                {
                    "candidate": i,
                    "description": self.sentence(self.random.choice(likes), words),
                    "status": "ok",
                    "explainer": "explainer",
                    "exemplar_ranks": self.random.sample(range(20), 10),
                    "selection_score": found,
                    "published_score": abs(found),
                    "score": None,
                }
            )
        return {
            **sign,
            "candidates": candidates,
            "concepts": None,
            "exemplars": [{**r, "peak": max(r["activations"], key=abs)} for r in exemplars],
            "simulated": [{**r, "simulated": self.values(sign["simulated"], r["kind"], "simulated")} for r in scored],
        }


def measure(scratch: Path) -> dict[str, float]:
    """What the explorer takes: on the disk, for a click, and in the browser."""
    from neuron_descriptions.atlas.packing import write_neurons
    from neuron_descriptions.atlas.semantic import write_semantic
    from neuron_descriptions.atlas.site import write_atlas_page
    from neuron_descriptions.config.atlas import SemanticSearch
    from neuron_descriptions.config.sections import load_config
    from neuron_descriptions.config.sources import spec_key
    from neuron_descriptions.models.fetching_embeddings import fetch_embeddings

    subprocess.run(["make", "demo"], cwd=ROOT, check=True)
    config = load_config(demo_config())
    name, model = next(iter(config.models.items()))
    results = ROOT / "results" / config.run
    made = MadeUp(Real(results, str(ROOT / f"resources/models/{name}-{spec_key(model)}")), seed=0)

    folder = scratch / "details/layer-0/chunk-0"
    folder.parent.mkdir(parents=True)
    write_neurons([made.neuron(0, number) for number in range(CHUNK)], folder)
    atlas = scratch / "atlas.parquet"
    table = rows(results / "atlas/atlas.parquet", made)
    write_table(table, atlas)
    said = [len(text.encode()) for text in table["description"].drop_null().to_pylist()]
    semantic = SemanticSearch()
    fetch_embeddings(semantic, str(scratch / "embeddings"))
    meanings = {layer: str(scratch / f"meaning/layer-{layer}.js") for layer in range(LAYERS)}
    start = time.process_time()
    write_semantic(str(atlas), str(scratch / "embeddings"), semantic.dimensions,
                   {"vocabulary": str(scratch / "meaning/vocabulary.js"), "rows": meanings})  # fmt: skip
    embed_seconds = time.process_time() - start
    parts = {layer: [f"chunk-{i}" for i in range(NEURONS // CHUNK)] for layer in range(LAYERS)}
    start = time.process_time()
    write_atlas_page(
        {
            "run": "made up",
            "subject": "458,752 neurons",
            "explainer": "",
            "simulator": "made up",
            "semantic": semantic.dimensions,
        },
        {split: str(results / f"corpus/{split}.parquet") for split in ("train", "valid", "test")}
        | {
            "atlas": str(atlas),
            "probe": str(results / "scores/probe.json"),
            "details": [str(scratch / f"details/layer-{layer}/{part}") for layer, own in parts.items() for part in own],
        },
        parts,
        CHUNK,
        {
            "words": str(scratch / "rows/words.js"),
            "rows": [str(scratch / f"rows/layer-{layer}.js") for layer in parts],
            "page": str(scratch / "index.html"),
            "report": str(scratch / "report.html"),
        },
    )
    page_seconds = time.process_time() - start
    sizes = [path.stat().st_size for path in folder.iterdir()]
    loaded = sum(path.stat().st_size for path in (scratch / "rows").iterdir())
    others = sum((scratch / name).stat().st_size for name in ("index.html", "report.html"))
    return {
        "rows": 2 * LAYERS * NEURONS,
        "click_mb": max(sizes) / 1e6,
        "neurons_a_click": CHUNK / len(sizes),
        # Of the parts a sample is made: one chunk of all.
        "total_gb": (sum(sizes) / CHUNK * LAYERS * NEURONS + loaded + others) / 1e9,
        "rows_mb": loaded / 1e6,
        "description_bytes": float(np.mean(said)),  # a row's; a real one's:
        "description_bytes_real": float(np.mean([len(text.encode()) for text in made.real.sentences])),
        "index_mb": (scratch / "index.html").stat().st_size / 1e6,
        "write_atlas_page_cpu_s": page_seconds,
        **browsed((scratch / "index.html").as_uri()),
        "embed_descriptions_cpu_s": embed_seconds,
        "meaning_mb": sum(path.stat().st_size for path in (scratch / "meaning").iterdir()) / 1e6,
        **by_meaning((scratch / "index.html").as_uri()),
    }


def rows(atlas: Path, made: MadeUp) -> pa.Table:
    """An atlas of rows drawn from another, their numbers moved by up to 0.05, with made-up sentences. Those that have
    details are its best by score, so that the report finds them."""
    real, n = read_table(atlas, ATLAS), 2 * LAYERS * NEURONS
    random = np.random.default_rng(0)
    table = real.take(random.integers(0, len(real), n))
    places = np.arange(n) // 2
    own = {
        "layer": places // NEURONS,
        "neuron": places % NEURONS,
        "sign": np.where(np.arange(n) % 2, "negative", "positive"),
        "description": [made.sentence() for _ in range(n)],
    }
    for field in ATLAS:
        if pa.types.is_floating(field.type) and field.name != "peak" and "percentile" not in field.name:
            values = table[field.name].to_numpy() + random.uniform(-0.05, 0.05, n)
            own[field.name] = np.clip(values, -1, 0.9)
    own["log_density"] = random.uniform(-4, -0.5, n)  # as latents have it
    own["score"][: 2 * CHUNK] = np.nan_to_num(own["score"][: 2 * CHUNK]) / 10 + 0.9
    for name, values in own.items():
        field = ATLAS.field(name)
        table = table.set_column(ATLAS.get_field_index(name), field, pa.array(values, field.type, from_pandas=True))
    return table


# What a person does with the table: name -> what changes in the page's address.
ACTIONS = {
    "a frequent word": {"q": "the"},
    "a rare word": {"q": "constitution"},
    "two words and a phrase": {"q": 'words and "the token"'},
    "no match": {"q": "ß zebra"},
    "by description": {"sort": "description"},
    "by neuron": {"sort": "-neuron"},
    "by chance": {"sort": "-chance"},
    "a type": {"type": "context"},
    "a source": {"source": "concepts"},
    "a density": {"dense_from": "0.1", "dense_to": "1"},
    "descriptions that others have": {"same": "shared"},
    "by density": {"sort": "-log_density"},
    "several filters": {"q": "words layer:5-15", "sign": "negative", "status": "not_shown", "min": "0.2"},
    "the last page": {"page": "9000"},
    "the first screen again": {},
}
TIMED = """async (changes) => {
    const empty = Object.fromEntries(FIELDS.map((field) => [field, ""]));
    const start = performance.now();
    await change({...empty, ...changes});
    document.body.getBoundingClientRect();  // laid out
    return [(performance.now() - start) / 1000, chosen().order.length];
}"""


def browsed(address: str) -> dict[str, float]:
    """Seconds and megabytes in Chromium, offline, of a tab that has loaded nothing else."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(offline=True)
        page.set_default_timeout(120_000)
        start = time.monotonic()
        page.goto(address, wait_until="commit")
        page.wait_for_selector("#rows tbody tr")
        first = time.monotonic() - start
        page.wait_for_function("isLoaded()")
        loaded = time.monotonic() - start
        same = page.evaluate("JSON.stringify(viewOf().medians) === JSON.stringify(ATLAS.first.medians)")
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})
        actions, work = {}, {}
        for name, changes in ACTIONS.items():
            before = _busy(session)
            actions[name], found = page.evaluate(TIMED, changes)
            work[name] = _busy(session) - before
            print(f"  {name:30s} {actions[name]:.3f} s, {work[name]:.3f} of the processor, {found:,} rows", flush=True)
        start = time.monotonic()
        page.locator("#rows tbody td.neuron").first.click()
        page.wait_for_selector("#neuron-view h2")
        clicked = time.monotonic() - start
        session.send("HeapProfiler.collectGarbage")
        page.wait_for_timeout(1000)
        tabs = [p for p in psutil.Process().children(recursive=True) if "--type=renderer" in p.cmdline()]
        memory = max((p.memory_full_info() for p in tabs), key=lambda info: info.uss)
        browser.close()
    return {
        "first_screen_s": first,
        "all_rows_s": loaded,
        "first_screen_is_that_of_all_rows": float(same),
        "search_s": max(actions.values()),
        "search_cpu_s": max(work.values()),
        "click_s": clicked,
        "tab_mb": memory.uss / 1e6,  # the tab's own; with what all tabs of the browser share:
        "tab_resident_mb": memory.rss / 1e6,
    }


# What a person searches for by meaning, one after the other.
MEANT = [{"q": "money"}, {"q": "words about public life"}, {"q": "anger layer:5-15", "sign": "negative"}]


def by_meaning(address: str) -> dict[str, float]:
    """Seconds of searches by meaning, and the tab's megabytes after them."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(offline=True)
        page.set_default_timeout(120_000)
        page.goto(address)
        page.wait_for_function("isLoaded()")
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})
        seconds, work = [], []
        for changes in MEANT:
            before = _busy(session)
            seconds.append(page.evaluate(TIMED, changes | {"by": "meaning"})[0])
            work.append(_busy(session) - before)
            print(f"  by meaning: {changes['q']:20s} {seconds[-1]:.3f} s, {work[-1]:.3f} of the processor", flush=True)
        session.send("HeapProfiler.collectGarbage")
        page.wait_for_timeout(1000)
        tabs = [p for p in psutil.Process().children(recursive=True) if "--type=renderer" in p.cmdline()]
        memory = max(p.memory_full_info().uss for p in tabs)
        browser.close()
    return {
        "meaning_first_s": seconds[0],  # vectors and vocabulary are loaded
        "meaning_s": max(seconds[1:]),
        "meaning_cpu_s": max(work[1:]),
        "meaning_tab_mb": memory / 1e6,
    }


def _busy(session: Any) -> float:
    """Processor seconds of the page's main thread so far."""
    metrics = session.send("Performance.getMetrics")["metrics"]
    return next(one["value"] for one in metrics if one["name"] == "TaskDuration")
