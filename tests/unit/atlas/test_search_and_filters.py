"""The atlas's page in a browser, on many made-up rows: what is searched for and chosen, against a plain computation."""

import random
from collections import Counter

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


@pytest.mark.parametrize(
    ("changes", "holds"),
    [
        ({"dense_from": "0.1"}, lambda row: row["log_density"] is not None and row["log_density"] >= -3),
        ({"dense_to": "0.1"}, lambda row: row["log_density"] is not None and row["log_density"] <= -3),
        ({"dense_from": "0.01", "dense_to": "2"}, lambda row: -4 <= (row["log_density"] or 0) <= -1.699),
        ({"dense_from": "0"}, lambda row: row["log_density"] is not None),
        ({"source": "tokens"}, lambda row: row["explainer"] == "tokens"),
        ({"q": 'source:concepts source:"Concepts"'}, lambda row: row["explainer"] == "Concepts"),
        ({"q": 'source:"a model"', "dense_to": "1"},
         lambda row: row["explainer"] == "a model" and (row["log_density"] or 0) <= -2),
        ({"q": "source:nobody"}, lambda row: False),
    ],
)  # fmt: skip
def test_rows_are_chosen_by_density_and_source(table, rows, changes, holds):
    assert table.evaluate(FOUND, changes) == where(rows, holds)


def test_rows_are_chosen_by_whether_others_have_their_description(table, rows):
    times = Counter(row["description"].lower() for row in rows if row["description"])
    shared = where(rows, lambda row: row["description"] and times[row["description"].lower()] > 1)
    own = where(rows, lambda row: row["description"] and times[row["description"].lower()] == 1)
    table.get_by_role("combobox", name="Same description").select_option("as other rows")
    table.wait_for_function("(n) => chosen().order.length === n", arg=len(shared))
    assert table.evaluate(FOUND, {"same": "shared"}) == shared and len(shared) > 20
    assert table.evaluate(FOUND, {"same": "own"}) == own and len(own) > 100


def test_density_and_source_are_chosen_by_the_keyboard(table, rows):
    """By what labels say; the address keeps it; clearing lets all through again."""
    table.get_by_role("combobox", name="Source").focus()
    table.keyboard.type("to")
    for name in ("same", "min", "dense_from"):  # as they stand on the screen
        table.keyboard.press("Tab")
        assert table.evaluate("document.activeElement.name") == name
    table.keyboard.type("0.5")
    table.get_by_role("spinbutton", name="Density at most, in %").fill("20")
    expected = where(rows, lambda r: r["explainer"] == "tokens" and -2.301 <= (r["log_density"] or 0) <= -0.699)
    wait = "(n) => document.querySelector('#summary dd')?.textContent.startsWith(`${n}match`)"
    table.wait_for_function(wait, arg=len(expected))
    assert set(table.locator("#rows td.source").all_inner_texts()) == {"tokens"}
    table.reload()
    table.wait_for_function(wait, arg=len(expected))
    assert table.get_by_role("combobox", name="Source").input_value() == "tokens"
    table.get_by_role("button", name="Clear").press("Enter")
    table.wait_for_function("document.querySelector('#summary dd')?.textContent.includes('all rows')")
    assert table.get_by_role("spinbutton", name="Density at least, in %").input_value() == ""


def test_rows_are_ordered_by_source(table):
    table.get_by_role("button", name="Source").press("Enter")
    table.wait_for_selector("th[data-key=explainer][aria-sort=ascending]")
    assert set(table.locator("#rows td.source").all_inner_texts()) == {"Concepts"}
    names = table.evaluate("Array.from(chosen().order, (i) => rowOf(i).explainer)")
    assert names == sorted(names) and set(names) == set(SOURCES)


def test_of_one_source_and_no_density_nothing_is_asked(page, tmp_path):
    shown = {"layer": 0, "neuron": 1, "sign": "positive", "description": "x", "status": "ok", "explainer": "e"}
    page.goto(written([shown], tmp_path))
    page.wait_for_function("isLoaded()")
    assert page.is_hidden("[name=source]") and page.is_hidden("th.source")
    assert page.is_hidden("[name=dense_from]") and page.is_hidden("th.density")
