"""`make bench SECTIONS=demo`: its figures are those of a run whose jobs are known."""

import os
import sys

import pyarrow as pa
import pytest
from transformers import LlamaConfig

from conftest import ROOT
from neuron_descriptions.common.storage import write_table
from neuron_descriptions.descriptions.tables import DESCRIPTIONS

sys.path.insert(0, str(ROOT / "tests/bench"))

import demo

START = 1_700_000_000
# rule, name, from second, to second, processor seconds; the last one: of another call, an hour later.
JOBS = [
    ("build_corpus", "", 0, 10, "8.0"),
    ("harvest", "train", 10, 40, "50.0"),
    ("harvest", "test", 12, 20, "4.0"),
    ("describe", "layer-1", 45, 60, "15.0"),
    ("score", "layer-1/chunk-0", 60, 100, "70.0"),
    ("plot", "", 3700, 3710, "5.0"),
]
LAYER = 2 * 32 * 32 + 2 * 16 * 32 + 3 * 32 * 64 + 2 * 32  # attention, its two smaller matrices, MLP, norms


@pytest.fixture
def run(tmp_path):
    shape = LlamaConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=5, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=100,
    )  # fmt: skip
    shape.save_pretrained(tmp_path / "model")
    results = tmp_path / "results"
    for folder in ("descriptions/layer-1", "logs/harvest", "logs/harvest_panel", "logs/score/layer-1"):
        (results / folder).mkdir(parents=True)
    said = [
        {"prompt_tokens": 300, "completion_tokens": 20, "description": 'the word "a"'},
        {"prompt_tokens": 200, "completion_tokens": 10, "description": "<|im_start|> and so on"},
        {},
    ]
    write_table(pa.Table.from_pylist(said, schema=DESCRIPTIONS), str(results / "descriptions/layer-1/chunk-0.parquet"))
    for split, tokens in {"train": 27, "test": 11}.items():
        lines = f"21:18:19  harvest  {split}, sequences 0 to 9, layers 1, 3\n21:18:20  harvest  {tokens} tokens read\n"
        (results / f"logs/harvest/{split}.log").write_text(lines)
    lines = "21:18:25  harvest_panel  7 tokens read\n21:18:26  harvest_panel  24 neurons\n"
    (results / "logs/harvest_panel/panel.log").write_text(lines)
    line = "21:18:19  score  {} tokens simulated, and {} of what they share\n"
    (results / "logs/score/layer-1/chunk-0.log").write_text(line.format(999, 9) + line.format(4000, 500))
    for rule, name, start, end, cpu in JOBS:
        file = results / "benchmarks" / rule / f"{name or 'only'}.tsv"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"s\th:m:s\tcpu_time\n{end - start}\t0:00:00\t{float(cpu) / 2}\n")  # half a minute too early
        os.utime(file, (START + end, START + end))
        log = results / "logs" / rule / f"{name or 'only'}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as lines:
            lines.write(f"21:18:26  {rule}  done in {end - start}.0 s, {cpu} s of processor\n")
    return results, tmp_path / "model"


def test_figures_are_those_of_the_jobs(run):
    results, model = run
    found = demo.figures(results, model, model, cores=2)
    assert found["harvest_tokens"] == 27 + 11 + 7
    assert found["harvest_tflop"] == pytest.approx(2 * 45 * 4 * LAYER / 1e12)  # layers 0 to 3
    assert found["describe_tflop"] == pytest.approx(2 * (530 * 5 * LAYER + 30 * 100 * 32) / 1e12)
    assert found["score_tflop"] == pytest.approx(2 * 4500 * 5 * LAYER / 1e12)
    assert found["model_tflop"] == pytest.approx(
        sum(found[f"{rule}_tflop"] for rule in ("harvest", "describe", "score"))
    )
    assert (found["descriptions"], found["descriptions_with_debris"]) == (2, 1)
    assert found["cpu_seconds"] == 152
    assert found["wall_seconds"] == 110  # the hour in between aside
    assert found["idle_share"] == pytest.approx(1 - 152 / 220)
    assert found["gigaflops"] == pytest.approx(1e3 * found["model_tflop"] / 90)


def test_a_log_that_does_not_tell_is_an_error(run):
    results, model = run
    (results / "logs/score/layer-1/chunk-0.log").write_text("21:18:19  score  loaded\n")
    with pytest.raises(ValueError, match=r"chunk-0\.log does not say what was read"):
        demo.figures(results, model, model, cores=2)
