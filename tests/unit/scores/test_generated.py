"""Texts written from descriptions: how answers are read, what is asked, what the subject makes of it, the figures."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForCausalLM

from conftest import ROOT
from endpoint import Reply, endpoint
from neuron_descriptions.common.storage import write_table
from neuron_descriptions.config.base import restored
from neuron_descriptions.config.scorers import Scorer
from neuron_descriptions.config.scores import Scores
from neuron_descriptions.corpus.building import Cut
from neuron_descriptions.corpus.tables import CORPUS
from neuron_descriptions.descriptions.asking import Part
from neuron_descriptions.descriptions.tables import ACCOUNTING, DESCRIPTIONS
from neuron_descriptions.harvest.passes import Passes
from neuron_descriptions.harvest.subject import Subject
from neuron_descriptions.scores.formulas import average_precision
from neuron_descriptions.scores.generated import aligned, auc, auc_interval
from neuron_descriptions.scores.generated_corpus import gather_texts, run_texts
from neuron_descriptions.scores.generated_tables import GENERATED, PEAKS, fingerprint
from neuron_descriptions.scores.opening import Job, run_scorer
from neuron_descriptions.scores.writer_prompts import parse_text, parse_texts, read_writer_template
from neuron_descriptions.scores.writing import write_texts
from word_neurons import tiny_base

PROMPT = str(ROOT / "config/prompts/generation.yaml")
WORDS = ("river", "stone", "cloud", "paper", "seven", "music")
ALONE = [f"{word} {word} {word}" for word in WORDS]


# --- answers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("begun", "text", "finished", "texts"),
    [
        ("1.", " A boat.\n2. Two small boats.\n3. Three", False, ["A boat.", "Two small boats."]),
        ("", "Here are 2 texts:\n\n1. “A boat.”\n2) A ship.\n\nI hope that helps!", True, ["A boat.", "A ship."]),
        ("", '```json\n["A boat.", "A\\nship.", 3]\n```', True, ["A boat.", "A ship."]),
        ("", "<think>1. No text.</think>A boat.\nA ship.", True, ["A boat.", "A ship."]),
        ("", "- A boat.\n- a  BOAT\n- ...\n-\n- boats.\n- a row of boats", True, ["A boat.", "a row of boats"]),
        ("", "<think>for ever", False, []),
        ("", "", True, []),
        ("", "A boat, and then no end", False, []),
    ],
)
def test_texts_are_read_from_answers(begun, text, finished, texts):
    assert parse_texts(begun, text, finished, "boats").texts == texts


def test_a_description_again_is_no_text_but_a_word_in_a_sentence_is():
    answer = "Words of the sea.\nThe words of the sea!\nA poem had words of the sea and of the land."
    found = parse_texts("", answer, True, "words of the sea").texts
    assert found == ["A poem had words of the sea and of the land."]


@pytest.mark.parametrize("text", ["I'm sorry, but I can't help with that.", "1. I cannot write this."])
def test_a_refusal_is_no_text(text):
    said = parse_texts("", text, True, "boats")
    assert said.texts == [] and (said.refused or text.startswith("1."))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (" “A boat on the", ["A boat on the"]),  # cut off: a text all the same
        (' "A boat."', ["A boat."]), (' "Boats," she said.', ['"Boats," she said.']),
        (" A boat.\nSomething else: A train.", ["A boat."]),
        ("<think>A boat?</think>\n- Two boats lay there.", ["Two boats lay there."]),
        ("boats", []), ("  ...", []), ("<think>for ever", []), ("I'm sorry, but I can't help.", []),
    ],
)  # fmt: skip
def test_one_text_is_read_from_an_answer(text, found):
    said = parse_text(text, "boats")
    assert said.texts == found and said.refused == text.startswith("I'm sorry")


def test_a_prompt_file_must_show_description_and_count(tmp_path):
    bad = tmp_path / "prompt.yaml"
    bad.write_text("system: s\nfits: '{{ description }} {{ count }}'\nothers: '{{ description }}'\n")
    with pytest.raises(ValueError, match=r"prompt\.yaml: `others` must show the description and the count"):
        read_writer_template(str(bad))
    right = "system: s\nfits: '{{ description }} {{ count }}'\nothers: '{{ description }} {{ count }}'\n"
    bad.write_text(right + "one: {system: s, fits: '{{ description }}', others: none}\n")
    with pytest.raises(ValueError, match=r"prompt\.yaml: `one.others` must show the description"):
        read_writer_template(str(bad))


# --- figures -----------------------------------------------------------------------------------------


def test_figures_are_those_of_a_brute_force():
    random = np.random.default_rng(0)
    fits, groups = random.normal(1, 1, 7).round(1), [random.normal(0, 1, n).round(1) for n in (4, 6, 0, 3)]
    rest = np.concatenate(groups)
    pairs = [(a > b) + (a == b) / 2 for a in fits for b in rest]
    assert auc(fits, groups) == pytest.approx(np.mean(pairs))
    gini, purity = aligned(fits, rest)
    assert gini == pytest.approx(2 * np.mean(pairs) - 1)
    active = np.arange(len(fits) + len(rest)) < len(fits)
    assert purity == average_precision(np.concatenate([fits, rest]), active)
    low, high = auc_interval(fits, groups, 500, 0.95, np.random.default_rng(1))
    assert low < auc(fits, groups) < high


def test_nothing_wins_by_what_it_does_not_tell():
    same, none = np.ones(5), np.zeros(0)
    assert auc(same, [same]) == 0.5 and aligned(same, same) == (0.0, 0.5)
    assert aligned(np.zeros(4), np.ones(4))[0] == -1.0  # the wrong way round is no success
    assert np.isnan(auc(none, [same])) and np.isnan(auc(same, [])) and np.isnan(aligned(same, none)).all()
    assert np.isnan(auc_interval(same, [none], 10, 0.95, np.random.default_rng(0))).all()


# --- from descriptions to scores ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def planted(tmp_path_factory, tokenizer):
    """A tiny model, and what was said of four neurons of each layer: of each, the word that drives it furthest, and
    of the last of a layer the one that drives it least."""
    folder = tmp_path_factory.mktemp("planted")
    base = tiny_base(folder / "model", tokenizer)
    acts = hooked(base, tokenizer, ALONE)
    rows = []
    for layer in (0, 1):
        peaks = np.array([acts[text][layer].max(0) for text in ALONE])  # (words, features)
        margin = np.sort(peaks, 0)[-1] - np.sort(peaks, 0)[-2]
        for place, neuron in enumerate(sorted(np.argsort(-margin)[:4].tolist())):
            word = WORDS[int(peaks[:, neuron].argmin() if place == 3 else peaks[:, neuron].argmax())]
            rows.append({"layer": layer, "neuron": neuron, "sign": "positive", "candidate": 0, "explainer": "x",
                         "description": f"the word {word}", "status": "ok"})  # fmt: skip
    rows.append(rows[0] | {"sign": "negative", "description": None, "status": "refused"})
    return {"base": base, "rows": rows, "neurons": {layer: [r["neuron"] for r in rows[:8] if r["layer"] == layer]
            for layer in (0, 1)}}  # fmt: skip


def hooked(base, tokenizer, texts):
    """Text -> activations (T, I) of each layer, from the model itself."""
    model, seen = AutoModelForCausalLM.from_pretrained(base), {}
    from neuron_descriptions.corpus.templates import Template

    prefix, found = Template(tokenizer).prose_prefix, {}
    for layer, block in enumerate(model.model.layers):
        block.mlp.down_proj.register_forward_pre_hook(lambda m, args, layer=layer: seen.update({layer: args[0][0]}))
    for text in texts:
        ids = prefix + tokenizer(text, add_special_tokens=False)["input_ids"]
        with torch.inference_mode():
            model(torch.tensor([ids]))
        found[text] = {layer: acts[len(prefix) :].numpy().copy() for layer, acts in seen.items()}
    return found


def writes(number, body):
    """Three texts that hold the word of the description, or three of other words."""
    asked = body["messages"][-1]["content"]
    word = asked.split("the word ")[1].split("\n")[0]
    others = [w for w in WORDS if w != word][:3]
    if "does not respond" in asked:  # texts of one description are those of no other
        lines = [f"{w} {w} {w}" + " ;" * WORDS.index(word) for w in others]
    else:
        lines = [" ".join([word] * n) for n in (2, 3, 4)]
    return Reply("\n".join(f"{i}. {line}" for i, line in enumerate(lines, 1)))


def section(served=None, budget=None, **changes):
    url = served.base_url if served else "http://127.0.0.1:1"
    limits = {"concurrency": 4, "timeout": 20.0, "tries": 2, "budget": budget}
    writer = {"client": "openai", "model": "m", "base_url": url, "key_variable": None,
              "prices": {"prompt": 1.0, "completion": 1.0}, "limits": limits}  # fmt: skip
    return restored(
        Scorer, {"kind": "generated", "writer": writer, "texts": 3, "fewest": 2, "attempts": 2, "others": 3, **changes}
    )


def written(planted, folder, served, layer, neurons, part, **changes):
    """The table of texts of a part."""
    table = folder / f"descriptions-{layer}.parquet"
    rows = [row for row in planted["rows"] if row["layer"] == layer]
    write_table(pa.Table.from_pylist(rows, schema=DESCRIPTIONS), table)
    outputs = {name: str(folder / f"{name}-{layer}-{part}.parquet") for name in ("texts", "accounting")}
    inputs = {"descriptions": str(table), "scores": [], "prompt": PROMPT, "writer": []}
    write_texts(
        Part(layer, part, neurons, seed=0), "g", inputs, section(served, **changes), str(folder / "requests"), "code",
        outputs,
    )  # fmt: skip
    return outputs["texts"]


def scored(planted, folder, served, chunks=1, layers_per_pass=2):
    """Rows of the scorer's tables by layer, neuron and sign, all stages run in so many chunks of a layer."""
    folder.mkdir(exist_ok=True)
    parts = {}
    for layer, neurons in planted["neurons"].items():
        for number, some in enumerate(np.array_split(neurons, chunks)):
            parts[layer, number] = written(planted, folder, served, layer, some.tolist(), f"chunk-{number}")
    made = {name: str(folder / f"{name}.parquet") for name in ("corpus", "others")}
    gather_texts(list(parts.values()), planted["base"], "g", Cut(64), 3, 0, made)
    peaks = {layer: str(folder / f"peaks-{layer}.parquet") for layer in planted["neurons"]}
    subject = Subject(planted["base"], 2, 64, None, "float32")
    inputs = {"corpus": made["corpus"], "others": made["others"], "texts": list(parts.values())}
    run_texts(subject, inputs, planted["neurons"], Passes(4, layers_per_pass), peaks)
    found = {}
    for (layer, number), texts in parts.items():
        neurons = np.array_split(planted["neurons"][layer], chunks)[number].tolist()
        given = {"descriptions": str(folder / f"descriptions-{layer}.parquet"), "scores": [], "texts": texts,
                 "others": made["others"], "peaks": peaks[layer]}  # fmt: skip
        job = Job("g", section(), Scores(simulator=None, bootstrap=200), neurons, layer, given, "", "g", "code", 0, 1)
        out = str(folder / f"scored-{layer}-{number}.parquet")
        run_scorer(job, out)
        found |= {(row["layer"], row["neuron"], row["sign"]): row for row in pq.read_table(out).to_pylist()}
    return found


@pytest.fixture(scope="module")
def run(planted, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "one"
    with endpoint(writes) as served:
        rows = scored(planted, folder, served)
        asked = len(served.seen)
        scored(planted, folder, served)
        assert len(served.seen) == asked  # answers are paid for once
    assert asked == 2 * 8
    return folder, rows


def test_texts_that_hold_the_word_drive_the_neuron(planted, run):
    rows = [run[1][row["layer"], row["neuron"], "positive"] for row in planted["rows"][:8]]
    assert {row["status"] for row in rows} == {"ok"} and {row["n_fits"] for row in rows} == {3}
    others = pq.read_table(run[0] / "others.parquet").to_pylist()
    for row in rows:  # those of other neurons that say something else
        beside = [o for o in others if (o["layer"], o["neuron"]) != (row["layer"], row["neuron"])]
        assert row["n_nulls"] == min(3, sum(o["description"] != row["description"] for o in beside)) > 0
    for row in rows[:3] + rows[4:7]:
        assert row["responsiveness"] > 0.7 and row["purity"] > 0.8 and row["auc"] > 0.75
        assert row["auc"] > row["null_auc"] and row["auc_low"] <= row["auc"] <= row["auc_high"]
    for row in (rows[3], rows[7]):  # what was said is the word that drives it least
        assert row["responsiveness"] < 0 and row["auc"] < 0.5
    negative = run[1][0, planted["rows"][0]["neuron"], "negative"]
    assert negative["status"] == "no_description" and negative["auc"] is None


def test_peaks_are_the_models_own(planted, run, tokenizer):
    folder, rows = run
    texts = {t["text"] for row in rows.values() for t in row["texts"] or ()}
    acts = hooked(planted["base"], tokenizer, sorted(texts))
    for (layer, neuron, _), row in rows.items():
        for text in row["texts"] or ():
            assert text["peak"] == pytest.approx(float(acts[text["text"]][layer][:, neuron].max()), abs=1e-5)
    # Every feature is tried on the shared texts, and on its own.
    table = pq.read_table(folder / "peaks-1.parquet", schema=PEAKS).to_pylist()
    others = pq.read_table(folder / "others.parquet", schema=GENERATED).to_pylist()
    shared = {fingerprint(text) for row in others for text in row["fits"] + row["others"]}
    assert len(others) == 5 and all(shared <= set(row["text"]) for row in table)
    corpus = pq.read_table(folder / "corpus.parquet")
    assert corpus.schema.names == CORPUS.names and corpus["document"].to_pylist() == sorted(
        corpus["document"].to_pylist()
    )


def test_neither_chunks_nor_passes_change_a_score(planted, run, tmp_path):
    with endpoint(writes) as served:
        other = scored(planted, tmp_path / "other", served, chunks=2, layers_per_pass=1)
    assert other == run[1]
    for name in ("corpus", "others"):
        assert (tmp_path / f"other/{name}.parquet").read_bytes() == (run[0] / f"{name}.parquet").read_bytes()


def test_what_texts_took_is_counted(run):
    (row,) = pq.read_table(run[0] / "accounting-0-chunk-0.parquet", schema=ACCOUNTING).to_pylist()
    assert (row["candidates"], row["described"], row["answers"], row["prompt_tokens"]) == (4, 4, 8, 8 * 50)
    assert row["fresh_prompt_tokens"] == 0  # the second time they were found in the journal
    assert list((run[0] / "requests/generated/g/layer-0").glob("*.jsonl"))


# --- what writers do ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behave", "status", "asked"),
    [
        (lambda n, body: Reply("I'm sorry, but I can't help with that."), "refused", 16),
        (lambda n, body: Reply("", refused=True), "refused", 16),
        (lambda n, body: Reply("1.\n2. ...\n3. the word"), "few_texts", 16),
        (lambda n, body: Reply("..."), "unparsed", 16),
        (lambda n, body: Reply("1. A boat.\n2. A boat.\n3. a boat!"), "few_texts", 16),
        # The same texts as both kinds tell nothing: they count as the first kind alone.
        (lambda n, body: Reply("1. A boat.\n2. A ship.\n3. A sea."), "few_texts", 12),
        (lambda n, body: Reply("\n".join(f"{i}. {body['messages'][-1]['content'].split(': ')[1].splitlines()[0]}"
                                         for i in range(3))), "unparsed", 16),
    ],
)  # fmt: skip
def test_what_is_no_text_is_a_status_and_no_score(planted, tmp_path, behave, status, asked):
    with endpoint(behave) as served:
        path = written(planted, tmp_path, served, 0, planted["neurons"][0], "chunk-0")
        assert len(served.seen) == asked
    rows = pq.read_table(path).to_pylist()
    assert {row["status"] for row in rows} == {status}
    made = {name: str(tmp_path / f"{name}.parquet") for name in ("corpus", "others")}
    gather_texts([path], planted["base"], "g", Cut(64), 3, 0, made)
    peaks = str(tmp_path / "peaks.parquet")
    inputs = {"corpus": made["corpus"], "others": made["others"], "texts": [path]}
    subject = Subject(planted["base"], 2, 64, None, "float32")
    run_texts(subject, inputs, {0: planted["neurons"][0]}, Passes(4, 1), {0: peaks})
    given = {"descriptions": str(tmp_path / "descriptions-0.parquet"), "scores": [], "texts": path,
             "others": made["others"], "peaks": peaks}  # fmt: skip
    job = Job("g", section(), Scores(simulator=None, bootstrap=20), planted["neurons"][0], 0, given, "", "g", "c", 0, 1)
    out = tmp_path / "scored.parquet"
    run_scorer(job, str(out))
    for row in pq.read_table(out).to_pylist():
        assert row["status"] in (status, "no_description")
        assert row["auc"] is row["responsiveness"] is row["purity"] is row["null_percentile"] is None


def test_a_writer_that_gives_few_is_asked_again(planted, tmp_path):
    def one_at_a_time(number, body):
        text = writes(number, body).text.splitlines()[number % 3 : number % 3 + 2]
        return Reply("\n".join(text))

    with endpoint(one_at_a_time) as served:
        path = written(planted, tmp_path, served, 0, planted["neurons"][0][:1], "chunk-0", attempts=4)
        seeds = [body["seed"] for _, body in served.seen]
    (row,) = pq.read_table(path).to_pylist()
    assert row["status"] == "ok" and len(row["fits"]) == len(row["others"]) == 3
    assert len(set(seeds)) == len(seeds) == row["attempts"]


def test_texts_are_asked_for_one_by_one(planted, tmp_path):
    """By an endpoint as by a local model, which does so by itself: a question a text, each with a seed of its own."""
    kinds: list[str] = []

    def one(number, body):
        asked = body["messages"][-1]["content"]
        word, kind = asked.split("the word ")[1].split("\n")  # no endpoint begins an answer: its beginning is asked for
        kinds.append(kind)
        drawn = " stone" * (body["seed"] % 97) + " and so on\n"
        return Reply(f"{kind} A {word}{drawn}" if kind == "Holds them:" else f"Else{drawn}Holds them: no more")

    with endpoint(one) as served:
        path = written(planted, tmp_path, served, 0, planted["neurons"][0][:1], "chunk-0", alone=True, attempts=1)
        seeds = [body["seed"] for _, body in served.seen]
        assert len(set(seeds)) == len(seeds) == 2 * 3
    (row,) = pq.read_table(path).to_pylist()
    assert sorted(kinds) == ["Holds them:"] * 3 + ["Something else:"] * 3
    assert row["status"] == "ok" and len(row["fits"]) == len(row["others"]) == 3
    assert all(text.startswith("A ") for text in row["fits"]) and all(t.startswith("Else") for t in row["others"])


def test_a_neuron_alone_has_no_texts_before_a_run(planted, tmp_path):
    table = tmp_path / "descriptions.parquet"
    write_table(pa.Table.from_pylist(planted["rows"], schema=DESCRIPTIONS), table)
    given = {"descriptions": str(table), "scores": [], "texts": [], "others": [], "peaks": []}
    neuron = planted["neurons"][0][0]
    run_scorer(
        Job("g", section(), Scores(simulator=None), [neuron], 0, given, "", "g", "c", 0, 1),
        str(tmp_path / "scored.parquet"),
    )
    statuses = [row["status"] for row in pq.read_table(tmp_path / "scored.parquet").to_pylist()]
    assert statuses == ["not_generated", "no_description"]


def test_the_budget_is_the_runs(planted, tmp_path):
    with endpoint(writes) as served:
        table = Path(tmp_path / "d.parquet")
        write_table(pa.Table.from_pylist(planted["rows"][:4], schema=DESCRIPTIONS), table)
        inputs = {"descriptions": str(table), "scores": [], "prompt": PROMPT, "writer": []}
        outputs = {name: str(tmp_path / name) for name in ("texts", "accounting")}
        with pytest.raises(ValueError, match="budget"):
            write_texts(
                Part(0, "chunk-0", planted["neurons"][0], 0), "g", inputs, section(served, budget=1e-6),
                str(tmp_path / "requests"), "code", outputs,
            )  # fmt: skip
        assert served.seen == [] and not Path(outputs["texts"]).exists()


def test_a_section_names_what_is_wrong():
    with pytest.raises(ValueError, match="fewest is 4, but texts is 3"):
        section(fewest=4)
    assert json.loads(json.dumps(section().model_dump()))["texts"] == 3
