"""What the pages load: packed neurons and rows, read back."""

import json
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from neuron_descriptions.atlas.browsing import FACTORS, NO_ORDER, NONE, description_order, first_screen, pack_rows
from neuron_descriptions.atlas.packing import (
    PART,
    levels,
    pack_neurons,
    read_neurons,
    read_script,
    script,
    unpack,
    unpack_neurons,
    write_neurons,
)
from neuron_descriptions.atlas.site import _places
from neuron_descriptions.atlas.tables import ATLAS
from neuron_descriptions.atlas.words import CODES, WORD, Words


@pytest.mark.parametrize("size", [*range(18), 1000])
def test_a_script_gives_its_bytes_back(tmp_path, size):
    data = np.random.default_rng(size).bytes(size)
    (tmp_path / "a.js").write_bytes(script("atlasRows", data))
    assert read_script(tmp_path / "a.js") == ("atlasRows", data)
    text = (tmp_path / "a.js").read_bytes().decode("utf-16")
    assert not any(0xD800 <= ord(c) < 0xE000 or c in "\u2028\u2029" for c in text)


def record(split, kind, rank, seq_id, tokens, activations, **more):
    return {"split": split, "kind": kind, "rank": rank, "seq_id": seq_id, "source": "books", "tokens": tokens} | {
        "activations": activations, **more
    }  # fmt: skip


def neuron(number, tokens=("un", "", "�", ' "', "<b>\u2028"), noise=0):
    random, tokens = np.random.default_rng([number, noise]), list(tokens)
    values = [[float(f"{v:.3g}") for v in random.normal(size=len(tokens))] for _ in range(2)]
    sign = {"status": "ok", "concepts": {"sentence": "x", "parts": [], "base": 0.1}, "candidates": []}
    sign["candidates"] = [{"candidate": 0, "description": "ü", "exemplar_ranks": [300, 2]}]
    exemplars = [
        record("train", "top", 0, 7, tokens, values[0], peak=3.0, fires=[[1, 0], [4, 2]]),
        record("test", "random", 1, 7, tokens, values[1], peak=max(map(abs, values[1])), fires=[]),
    ]
    if number == 9:  # of a run that keeps gates
        exemplars = [{**one, "gate": gate} for one, gate in zip(exemplars, (-0.21, 3.5))]
    guesses = [0.0, 9.0, 4.42, None, 10.0][: len(tokens)]
    simulated = [record("test", "random", 1, 7, tokens, values[1], simulated=guesses, fires=[[0, 1]])]
    other = {**sign, "concepts": None, "exemplars": [], "simulated": []}
    signs = {"positive": {**sign, "exemplars": exemplars, "simulated": simulated}, "negative": other}
    return {"layer": 3, "neuron": number, "signs": signs}


def test_neurons_come_back_with_values_rounded_and_nothing_else_changed():
    made = [neuron(5), neuron(9)]
    found = unpack_neurons(pack_neurons(made))
    for mine, theirs in zip(made, found, strict=True):
        for group in ("exemplars", "simulated"):
            for a, b in zip(mine["signs"]["positive"][group], theirs["signs"]["positive"][group], strict=True):
                largest = max(map(abs, a["activations"]))
                assert a["activations"] == pytest.approx(b["activations"], abs=largest / 100)
                assert max(map(abs, b["activations"])) == pytest.approx(largest, abs=largest / 200)
                a["activations"] = b["activations"]
        (last,) = mine["signs"]["positive"]["simulated"]
        last["simulated"] = [0.0, 9.0, 4.4, None, 10.0]  # to 0.05, whole numbers exact
    assert found == made


def test_what_neurons_share_stands_once():
    one, both = (len(pack_neurons([neuron(i) for i in range(n)])) for n in (1, 2))
    assert both < 1.4 * one
    head, arrays = unpack(pack_neurons([neuron(0), neuron(1)]))
    assert head["descriptions"] == ["ü"] * 4
    assert head["texts"]["length"] == [5, 5] and len(arrays["activations"]) == 4 * 5


def test_very_many_distinct_tokens_are_told_apart():
    words = [f"w{i}" for i in range(70_000)]
    for n in (300, 70_000):
        (found,) = unpack_neurons(pack_neurons([neuron(0, tokens=words[:n])]))
        assert found["signs"]["positive"]["exemplars"][0]["tokens"] == words[:n]


def test_a_click_loads_a_part_whatever_the_chunk(tmp_path):
    write_neurons([neuron(i) for i in range(40)], tmp_path / "chunk-0")
    parts = [read_neurons(tmp_path / f"chunk-0/{i}.js") for i in range(3)]
    assert [len(part) for part in parts] == [PART, PART, 40 - 2 * PART]
    assert len(list((tmp_path / "chunk-0").iterdir())) == 3
    numbers = np.repeat(np.arange(100, 140), 2)
    places = _places(numbers[:-1], ["chunk-0", "chunk-1"], 20)  # of the last neuron one sign
    assert places[:2] == ["chunk-0/0"] * 2 and places[38:42] == ["chunk-0/1"] * 2 + ["chunk-1/0"] * 2
    assert places[-1] == "chunk-1/1" and len(places) == 79


def test_values_have_the_decimals_that_their_steps_bear_out():
    assert levels([100, 40, -33, 0], 9.37 / 100) == [9.37, 3.75, -3.09, 0.0]
    assert levels([100, 1], 250 / 100) == [250.0, 3.0]
    assert levels([0, 0], 0.0) == [0.0, 0.0]


def test_descriptions_are_ordered_without_regard_to_case():
    found = description_order(["b", None, "A", "B", "", "ä"])
    assert found.tolist() == [1, NO_ORDER, 0, 1, NO_ORDER, 2]


def atlas(rows):
    return pa.Table.from_pylist([dict.fromkeys(ATLAS.names) | row for row in rows], schema=ATLAS)


ROWS = [
    {"layer": 0, "neuron": 4, "sign": "positive", "description": "Émile", "status": "ok", "score": 0.12344,
     "peak": 1.23456},
    {"layer": 0, "neuron": 4, "sign": "negative", "status": "no_score", "null_percentile": 99.5, "type": "token"},
]  # fmt: skip


def test_rows_are_packed_as_numbers_and_words():
    table = atlas(ROWS)
    texts = table["description"].to_pylist()
    head, arrays = unpack(pack_rows(table, description_order(texts), ["chunk-0/0"] * 2, Words(texts)))
    assert arrays["neuron"].tolist() == [4, 4] and arrays["score"].tolist() == [1234, NONE]
    assert arrays["null_percentile"].tolist() == [NONE, 9950] and head["factors"] == FACTORS
    assert arrays["codes"].tolist() == [0] and arrays["at"].tolist() == [0, 1, 1]
    assert [head["words"]["sign"][i] for i in arrays["sign"]] == ["positive", "negative"]
    assert [head["words"]["type"][i] for i in arrays["type"]] == [None, "token"]
    assert arrays["peak"].tolist() == pytest.approx([1.23, np.nan], nan_ok=True)


def said(codes, words):
    """The text of a row's bytes: as pages/words.js reads them, written anew."""
    codes, found = iter(codes), []
    for first in codes:
        base = 0
        for lead, more, n in reversed(CODES):
            if first >= lead:
                number = first - lead
                for _ in range(more):
                    number = 256 * number + next(codes)
                base = sum(one for _, _, one in CODES if one < n)
                break
        found.append(words[base + number])
    return "".join(found)


def test_descriptions_come_back_from_numbers_of_their_words():
    texts = ["the word “über”; x", "", None, 'a "b", </i>  ', "漢字かな 한글", "\n\t…é", "I😀 don't", "ΟΔΟΣ"]
    texts += [f"w{i} and w{i + 1}" for i in range(40_000)]  # numbers of one byte, of two and of three
    words = Words(texts)
    head, arrays = unpack(words.pack())
    ends, data = arrays["at"], arrays["text"].tobytes()
    pieces = [data[a:b].decode() for a, b in pairwise(ends)]
    assert pieces == words.words and pieces[0] == "and "
    assert [said(words.encode(text), pieces) for text in texts] == [text or "" for text in texts]
    assert {len(words.encode(word)) for word in pieces} == {1, 2, 3}
    assert [pieces[i] for i in head["capitals"]] == ["ΟΔΟΣ"]
    assert WORD.findall("漢字, of 1,000")[:-1] == ["漢", "字, ", "of ", "1,", "000"]
    with pytest.raises(KeyError):
        words.encode("unheard")


def test_the_first_screen_has_the_best_and_sums_over_all():
    more = [{**ROWS[0], "neuron": 10 + i, "score": i / 1000, "token_baseline_score": 0.05} for i in range(150)]
    found = first_screen(atlas([*ROWS, *more]), ["chunk-0/0"] * 152)
    assert [row["neuron"] for row in found["rows"][:3]] == [159, 158, 157] and len(found["rows"]) == 100
    assert (found["total"], found["described"]) == (152, 151)
    assert found["above"] == [99, 150] and found["axis"] == 0
    assert found["medians"]["score"] == [pytest.approx(0.075), 151]
    assert json.loads(json.dumps(found)) == found and found["typed"] is True
