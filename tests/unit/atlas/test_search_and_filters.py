"""The atlas's page in a browser, on many made-up rows: what is searched for and chosen, against a plain computation."""

import random

import pyarrow as pa
import pytest

from neuron_descriptions.atlas.packing import write_neurons
from neuron_descriptions.atlas.site import write_atlas_page
from neuron_descriptions.atlas.tables import ATLAS
from neuron_descriptions.common.storage import write_table
from neuron_descriptions.common.vocabulary import SIGNS
from neuron_descriptions.corpus.tables import CORPUS

LAYERS, NEURONS = (0, 4), 150
WORDS = [
    "the", "words", "The", "word", "or", "for", "form", "don't", "1,000", "a_b", "ÉGALITÉ", "égal", "straße", "Ωmega",
    "漢字", "漢", "かな", "한글", "😀", "</i>", '"the"', "x" * 20, "İz", "\u212a", "na", "nana", "banana",
    "  ", "—", "…",
]  # fmt: skip
ALONE = '"the word "form""; the, word; words'  # pieces that follow each other, and ones that nearly do
SOURCES = ["Concepts", "a model", "tokens"]


def sentence(chance):
    marks = chance.choices(["", ", ", "; ", " "], (1, 2, 1, 12), k=12)
    return "".join(word + mark for word, mark in zip(chance.choices(WORDS, k=chance.randrange(1, 12)), marks))


@pytest.fixture(scope="module")
def rows():
    chance, found = random.Random(0), []
    for layer in LAYERS:
        for neuron in range(NEURONS):
            for sign in SIGNS:
                text = chance.choice([ALONE, None, *(sentence(chance) for _ in range(8))])
                density = None if chance.random() < 0.3 else round(chance.uniform(-5, -0.5), 3)
                found.append({"layer": layer, "neuron": 300 * neuron, "sign": sign, "description": text, "status": "ok",
                              "explainer": chance.choice(SOURCES), "log_density": density,
                              "score": round(chance.uniform(-0.2, 0.9), 4)})  # fmt: skip
    # More words than two bytes can number.
    many = " ".join(f"w{i}" for i in range(20_000))
    found[7]["description"] = f"{many} the end"
    return found


@pytest.fixture(scope="module")
def address(rows, tmp_path_factory):
    return written(rows, tmp_path_factory.mktemp("many"))


def written(rows, site):
    """The page of rows: its address."""
    table = pa.Table.from_pylist([dict.fromkeys(ATLAS.names) | row for row in rows], schema=ATLAS)
    write_table(table, site / "atlas.parquet")
    facts = {"tokens": "9", "longest": "9", "tokenizer": "x"}
    write_table(CORPUS.with_metadata(facts).empty_table(), site / "test.parquet")
    layers = sorted({row["layer"] for row in rows})
    for layer in layers:
        (site / f"details/layer-{layer}").mkdir(parents=True)
        neurons = sorted({row["neuron"] for row in rows if row["layer"] == layer})
        write_neurons([{"layer": layer, "neuron": neuron, "signs": {}} for neuron in neurons],
                      site / f"details/layer-{layer}/chunk-0")  # fmt: skip
    write_atlas_page(
        {"run": "r", "subject": "s", "explainer": "e", "simulator": "s"},
        {"test": str(site / "test.parquet"), "atlas": str(site / "atlas.parquet"),
         "details": [str(site / f"details/layer-{layer}/chunk-0") for layer in layers]},
        {layer: ["chunk-0"] for layer in layers}, 10_000,
        {"words": str(site / "rows/words.js"), "rows": [str(site / f"rows/layer-{layer}.js") for layer in layers],
         "page": str(site / "index.html"), "report": str(site / "report.html")},
    )  # fmt: skip
    return (site / "index.html").as_uri()


@pytest.fixture
def table(page, address):
    """The page, all rows there."""
    page.goto(address)
    page.wait_for_function("isLoaded()")
    return page


FOUND = """async (changes) => {
    await change(Object.fromEntries(FIELDS.map((field) => [field, changes[field] ?? ""])));
    return Array.from(chosen().order).sort((a, b) => a - b);
}"""


def where(rows, holds):
    return [i for i, row in enumerate(rows) if holds(row)]


def test_descriptions_are_read_as_they_were_written(table, rows):
    found = table.evaluate("Array.from({length: chosen().total}, (_, i) => rowOf(i).description)")
    assert found == [row["description"] for row in rows]


def test_every_search_finds_what_a_plain_one_does(table, rows):
    chance = random.Random(1)
    texts = [row["description"] for i, row in enumerate(rows) if row["description"] and i != 7]
    asked = [
        "the end",
        "w1999",
        "w19999 the",
        "w0 w1 w2",
        " ".join(f"w{i}" for i in range(60)),
        "no such word",
        "é",
        "k",
    ]
    asked += [" ".join(f"w{i}" for i in range(40)) + " w41"]  # longer than a state has bits, and wrong at its end
    for _ in range(150):
        text = chance.choice(texts)
        start = chance.randrange(len(text))
        piece = text[start : start + chance.randrange(1, 30)].replace('"', "")
        asked.append(chance.choice([str, str.lower, str.upper])(piece))
    asked = [text for text in asked if text.strip() and "\u0307" not in text.lower()]
    wrong = []
    for text in asked:
        found = table.evaluate(FOUND, {"q": f'"{text}"'})
        expected = where(rows, lambda row, text=text: text.lower() in (row["description"] or "").lower())
        if found != expected:
            wrong.append((text, len(found), len(expected)))
    assert wrong == [] and len(asked) > 130
    both = table.evaluate(FOUND, {"q": 'words "the, word"', "sign": "negative"})
    assert both == where(rows, lambda r: r["sign"] == "negative" and "words" in (r["description"] or "").lower()
                         and "the, word" in (r["description"] or "").lower())  # fmt: skip
    assert len(both) > 10

