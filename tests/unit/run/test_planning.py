import math
import re

import pytest
import yaml

from conftest import ROOT, changed, demo_config, tiny_config
from neuron_descriptions.config.sections import load_config
from neuron_descriptions.run.costs import make_plan
from neuron_descriptions.run.plans import Plan, Stage, short, time_left
from neuron_descriptions.run.reckoning import PROBED, model_parameters, shape_parameters
from neuron_descriptions.run.selection import described_and_kept
from neuron_descriptions.scores import probing


def planned(raw: dict) -> Plan:
    config = load_config(raw)
    return make_plan(config, *described_and_kept(config))


def published() -> dict:
    return yaml.safe_load((ROOT / "config/llama-3.1-8b-instruct.yaml").read_text())


def stage(plan: Plan, rule: str) -> Stage:
    return next(s for s in plan.stages if s.rule == rule)


def within(factor: float, value: float, truth: float) -> bool:
    return truth / factor < value < truth * factor


# Llama-3.1-8B from its architecture: hidden size, MLP neurons, width of keys and values, layers.
HIDDEN, NEURONS, KEYS, LAYERS = 4096, 14336, 1024, 32
IN_LAYERS = LAYERS * (3 * HIDDEN * NEURONS + 2 * HIDDEN * HIDDEN + 2 * HIDDEN * KEYS)
PREFIX = 30  # tokens of the chat template before each sequence's evidence
A100 = 0.4 * 312e12


def hours(tokens: float) -> float:
    return 2 * IN_LAYERS * tokens / A100 / 3600


def test_the_published_run_is_reckoned_within_a_factor_of_two_of_first_principles():
    plan = planned(published())
    signs = 2 * LAYERS * NEURONS
    harvest, describe, score = (stage(plan, rule) for rule in ("harvest", "describe", "score"))

    assert within(2, harvest.gpu_hours(), hours(3e6 * (95 - PREFIX)))
    # 10 to 20 excerpts of the evidence, their numbers and marks, a short instruction; an answer of a sentence.
    prompts = signs * 50 * (15 * (95 - PREFIX + 8) + 100)
    assert within(2, describe.read, prompts)
    assert within(2, describe.gpu_hours(), hours(prompts + signs * 50 * 25 * 4))
    # 50 candidates that race and 10 nulls to choose by, the chosen one and the nulls to report, each on 30 sequences.
    simulated = signs * (50 / 3 + 10 + 1 + 10) * 30 * 95
    assert within(2, score.read, simulated)
    assert within(2, score.gpu_hours(), hours(simulated))
    # Exemplars: bytes per neuron as measured on real activations (docs/benchmarks.md).
    assert within(2, stage(plan, "merge_exemplars").kept, 71_468 * LAYERS * NEURONS)
    # All in, at 2 dollars for an A100's hour: the published run cost $0.046 a neuron. It read the template's prefix, 30
    # tokens of 95, anew with every sequence; here that is read once for all of a description's.
    assert within(2.5, plan.totals()["gpu_hours"] * 2 / (LAYERS * NEURONS), 0.046)


def test_the_recommended_run_takes_at_most_250_h100_hours_and_what_first_principles_say():
    raw = yaml.safe_load((ROOT / "config/llama-3.1-8b-recommended.yaml").read_text())
    plan = planned(raw)
    assert plan.totals()["gpu_hours"] <= 250
    assert not plan.passed()
    assert load_config(raw).plan.teraflops <= 0.4 * 989.4
    assert sum(len(n) for n in described_and_kept(load_config(raw))[0].neurons.values()) == LAYERS * NEURONS
    signs, per_hour = 2 * LAYERS * NEURONS, 0.4 * 989e12 * 3600
    # Four prompts of four answers each, and a list of concepts that no model writes.
    prompts = signs * (4 * (15 * (95 - PREFIX + 8) + 100) + 16 * 25 * 4)
    simulated = signs * ((16 + 1 + 1 + 1 + 1) * 7 + 20 + 8 + 36) * 95
    assert within(1.5, plan.totals()["gpu_hours"], 2 * IN_LAYERS * (prompts + simulated + 3e6 * 95) / per_hour)


def test_the_table_in_the_docs_is_the_plan_s():
    page = (ROOT / "docs/benchmarks.md").read_text()
    plans = [planned(yaml.safe_load((ROOT / f"config/llama-3.1-8b-{name}.yaml").read_text()))
             for name in ("instruct", "recommended")]  # fmt: skip
    for rule in ("harvest", "describe", "score", "score_natural"):
        cells = re.search(rf"^\| `{rule}`.* \| (.*) \| (.*) \|$", page, re.MULTILINE).groups()
        hours = [sum(s.gpu_hours() for s in plan.stages if s.rule == rule) for plan in plans]
        assert cells == tuple(f"{found:,.0f}" if found else "none" for found in hours), rule
    totals = " | ".join(f"**{plan.totals()['gpu_hours']:,.0f}**" for plan in plans)
    assert f"| all | {totals} |" in page
    assert not any("no panel" in line for line in plans[1].precision)
    for line, half in zip(plans[1].precision, ("0.073", "0.052", "0.026")):
        assert half in line and line.split(": ")[1].split()[0] in page.partition("| all | ")[2][:900]


def test_what_the_docs_say_of_a_screen_is_the_plan_s():
    """Of Llama-3.1-8B in the recommended way, with a student of 1.24 billion parameters."""
    file = (ROOT / "config/llama-3.1-8b-recommended.yaml").read_text()
    raw = yaml.safe_load(file)
    raw["models"]["llama-1b"] = {"source": "hub", "repo": "meta-llama/Llama-3.2-1B-Instruct", "revision": "main"}
    raw["models"]["student"] = {"source": "adapter", "base": "llama-1b", "path": "student", "sha256": "0" * 64}
    raw["plan"]["parameters"]["llama-1b"] = 1.24
    screen = {"simulator": {"kind": "finetuned", "model": "student"}, "keep": 4}
    hours = [planned(r).totals()["gpu_hours"] for r in (changed(raw, scores__screen=screen), raw)]
    assert hours[0] < hours[1] <= 250
    page = " ".join((ROOT / "docs/benchmarks.md").read_text().split())
    assert f"A student of 1B that screens the 16 to 4 makes it {hours[0]:.0f} hours" in page
    assert f"makes it {hours[0]:.0f} hours" in " ".join(file.replace("#", " ").split())


def test_training_at_the_published_sizes_is_reckoned_within_a_factor_of_two_of_first_principles():
    raw = yaml.safe_load((ROOT / "config/llama-3.1-8b-simulator.yaml").read_text())
    training = stage(planned(raw), "train_simulator")
    examples = 1500 * 64 + 650 * 32
    # A pass forth and two back; ranking takes only the first.
    assert within(2, training.gpu_hours(), hours((3 * examples + 2000 * 10 * 5) * (95 - PREFIX + 40)))
    assert training.memory_mb > 2 * 8030 and stage(planned(raw), "plot_training").gpus == 0
    assert not any(s.rule == "train_simulator" for s in planned(published()).stages)


def test_a_round_of_training_the_explainer_is_reckoned_from_first_principles():
    wanted = {"base": published()["descriptions"]["explainer"]["model"], "steps": 400, "batch_size": 16}
    raw = changed(published(), explainer_training=wanted, descriptions__evidence_min=10, descriptions__evidence_max=20)
    training = stage(planned(raw), "train_explainer")
    assert within(2, training.gpu_hours(), hours(3 * 400 * 16 * 15 * (95 - PREFIX)))
    assert training.memory_mb > 2 * 8030
    assert not any(s.rule == "train_explainer" for s in planned(published()).stages)


def test_distillation_is_reckoned_from_first_principles():
    """A student of half the depth costs half, to train and to use."""
    raw = yaml.safe_load((ROOT / "config/llama-3.1-8b-simulator.yaml").read_text())
    del raw["training"]
    teacher = raw["scores"]["simulator"]
    said = {"teacher": teacher, "base": raw["subject"]["model"], "descriptions": 5000, "sequences": 4, "rules_share": 0}
    raw["distillation"] = said | {"steps": 2000, "batch_size": 32, "judged_neurons": 100, "layers": LAYERS // 2}
    stages = planned(raw)
    taught, distilled = (stage(stages, rule) for rule in ("teach", "distil_simulator"))
    assert within(2, taught.gpu_hours(), hours(5000 * 4 * (95 - PREFIX) + 5000 * 60))
    assert within(2, distilled.gpu_hours(), hours(3 * 2000 * 32 * (95 + 30)) / 2)
    student = {"source": "adapter", "base": raw["subject"]["model"], "path": "student", "sha256": "0" * 64}
    raw["models"]["student"] = student | {"layers": LAYERS // 2}
    config = load_config(raw)
    assert model_parameters(config, "student") == model_parameters(config, raw["subject"]["model"]) / 2


def test_the_probe_is_reckoned_as_large_as_it_is():
    assert PROBED == probing.RULES * (1 + probing.WRONG) * probing.SEQUENCES
    assert stage(planned(published()), "probe").gpus == 1
    off = stage(planned(changed(published(), scores__probe="off")), "probe")
    assert (off.gpus, off.read) == (0, 0)


def test_without_a_gpu_the_processor_does_the_work():
    config = load_config(published())
    gpu, cpu = (make_plan(config, *described_and_kept(config), cores) for cores in (None, 8))
    assert within(1.01, stage(cpu, "score").gpu_hours(), stage(gpu, "score").gpu_hours() * 125 / (8 * 0.1))
    # One job after another on all cores; nothing costs GPU money, and no ceiling in GPU hours holds.
    assert cpu.totals()["dollars"] == 0 and cpu.ceilings["gpu_hours"] is None
    assert cpu.critical_path(1) > sum(s.gpu_hours() for s in cpu.stages)
    for words in ("processor hours", "8 cores, no GPU, sustain 0.8 TFLOP/s (plan.core_teraflops)", "this machine's"):
        assert words in cpu.text() and words not in gpu.text()
    assert "GPU hours" not in cpu.text()


def test_only_text_tokens_are_kept():
    """Of 95 tokens 30 are the template's; without one, one begins the text."""
    plan = planned(published())
    assert "of a sequence 65 tokens are text" in plan.text()
    bare = planned(changed(published(), corpus__chat_prefix=False))
    assert "of a sequence 94 tokens are text" in bare.text()
    ratio = stage(bare, "merge_exemplars").kept / stage(plan, "merge_exemplars").kept
    assert ratio == pytest.approx(94 / 65, rel=0.01)


def test_the_time_left_goes_by_what_jobs_take():
    wanted, seconds = {"harvest": 2, "plot": 10}, {"harvest": 600.0, "plot": 0.5}
    # Half of the harvest took 5 minutes: the other half as long; ten plots of a second weigh 10 of 1210.
    assert time_left(wanted, {"harvest": 1}, 5.0, seconds) == "1 of 12 jobs in 5 min, about 6 min left"
    assert time_left(wanted, {"harvest": 1, "plot": 10}, 5.0, seconds).endswith("about 5 min left")
    assert time_left(wanted, {}, 0.5, seconds) == "0 of 12 jobs in 0 min"
    assert time_left(wanted, wanted, 9.0, seconds).endswith("about 0 min left")


def test_the_shape_gives_the_parameters_roughly():
    assert within(1.3, shape_parameters(32, 14336), IN_LAYERS)
    assert within(1.3, shape_parameters(30, 1536), 30 * (3 * 576 * 1536 + 2 * 576 * 576 + 2 * 576 * 192))


def test_stated_parameters_replace_the_shape():
    raw = published()
    model = raw["scores"]["simulator"]["model"]
    small = stage(planned(changed(raw, plan__parameters={model: 0.803})), "score")
    large = stage(planned(changed(raw, plan__parameters={model: 8.03})), "score")
    assert large.gpu_hours() == pytest.approx(10 * small.gpu_hours(), rel=0.05)
    assert large.memory_mb - small.memory_mb == pytest.approx((8.03e9 - 0.803e9) * 2 / 1e6)


def test_jobs_are_the_workflow_s():
    plan = planned(changed(published(), exemplars__layers_per_job=8))
    assert stage(plan, "harvest").jobs == 3 * 4 * 4
    assert stage(plan, "describe").jobs == stage(plan, "score").jobs == 32 * 32
    # Each of four blocks of layers reads the corpus anew, and the template's prefix once for a batch.
    assert stage(plan, "harvest").read == 4 * 3e6 * (95 - PREFIX)
    plain = planned(changed(published(), exemplars__layers_per_job=8, corpus__chat_prefix=False))
    assert stage(plain, "harvest").read == 4 * 3e6 * 95


def test_a_second_description_of_what_is_written_is_reckoned_and_paid():
    raw = changed(published(), output_side={"tokens": 20, "explained": True})
    own = planned(raw)
    asked, judged = stage(own, "explain_output_side"), stage(own, "judge_output_tokens")
    assert asked.jobs == judged.jobs == stage(own, "describe").jobs and stage(own, "account_output_side").jobs == 1
    assert asked.read < stage(own, "describe").read / 5 and judged.read > 0
    double = planned(changed(raw, output_side__tokens=40))
    assert asked.read < stage(double, "explain_output_side").read < 2 * asked.read
    prices = {"prompt": 2.0, "completion": 8.0}
    paid = {"client": "openai", "model": "m", "prices": prices}
    remote = planned(changed(raw, descriptions__explainer=paid))
    found = stage(remote, "explain_output_side")
    assert found.endpoint == pytest.approx((found.read * 2 + found.generated * 8) / 1e6) and found.in_turn
    assert stage(remote, "judge_output_tokens").endpoint > 0
    doubly = planned(changed(raw, descriptions__explainer=paid, output_side__tokens=40))
    twice = 2 * stage(remote, "judge_output_tokens").read
    assert stage(doubly, "judge_output_tokens").read == pytest.approx(twice)
    free = planned(changed(raw, descriptions__explainer=paid, output_side__judge=raw["descriptions"]["explainer"]))
    assert stage(free, "judge_output_tokens").endpoint == 0 < stage(free, "explain_output_side").endpoint
    assert "explain_output_side" not in {s.rule for s in planned(changed(published(), output_side={})).stages}


def test_cutting_in_other_chunks_changes_jobs_not_work():
    few, many = planned(published()), planned(changed(published(), neurons__chunk_size=224))
    assert stage(many, "score").jobs == 2 * stage(few, "score").jobs
    assert stage(many, "score").read == stage(few, "score").read
    assert stage(many, "score").seconds < 0.51 * stage(few, "score").seconds
    assert stage(many, "score").memory_mb < stage(few, "score").memory_mb


def test_the_critical_path_shrinks_with_gpus_down_to_one_job_of_each_stage():
    plan = Plan([Stage("a", 1, 3600, 0), Stage("b", 10, 3600, 0, gpus=1), Stage("c", 50, 1800, 0)], 2, 0.0, [])
    assert [plan.critical_path(n) for n in (1, 2, 4, 10, 99)] == [11.5, 6.5, 4.5, 2.5, 2.5]


def imported(**exemplars: object) -> dict:
    """The published run, on the published exemplars instead of a harvest."""
    raw = changed(published(), exemplars={"k": 100, "random": 10} | exemplars, scores__middle=0)
    del raw["corpus"]
    return raw


def test_imported_exemplars_are_fetched_instead_of_harvested():
    source = {"source": "s3", "bucket": "transluce-public", "prefix": "exemplars", "folder": "f", "anonymous": True}
    plan, harvested = planned(imported(**source)), planned(published())
    rules = {s.rule for s in plan.stages}
    assert {"list_exemplars", "import_exemplars"} <= rules
    assert not {"fetch_documents", "build_corpus", "harvest", "merge_exemplars"} & rules
    found = stage(plan, "import_exemplars")
    assert (stage(plan, "list_exemplars").jobs, found.jobs) == (32, 32 * 32)
    # Activations and token ids of 4 bytes, of three splits, two ends, 110 sequences of 95; 427 GB published in all.
    assert found.fetched == LAYERS * NEURONS * 3 * 2 * 110 * (95 * 8 + 4)
    assert within(2, found.fetched, 427e9)
    assert found.kept < found.fetched
    # The arrays themselves fit in what a job asks for.
    assert found.memory_mb > 2 * found.fetched / found.jobs / 1e6
    assert stage(planned(imported(source="path", path="f")), "import_exemplars").fetched == 0
    for rule in ("describe", "score"):
        assert stage(plan, rule).jobs == stage(harvested, rule).jobs
        assert within(1.5, stage(plan, rule).gpu_hours(), stage(harvested, rule).gpu_hours())
    assert plan.totals()["gpu_hours"] < harvested.totals()["gpu_hours"]
    assert all(rule in plan.text() for rule in rules)


def test_an_endpoint_costs_money_and_time_but_no_gpu():
    explainer = {
        "client": "openai",
        "model": "gpt",
        "prices": {"prompt": 2.0, "completion": 10.0},
    }
    plan = planned(changed(published(), descriptions__explainer=explainer, descriptions__max_tokens=60))
    describe, neurons = stage(plan, "describe"), LAYERS * NEURONS
    assert describe.gpus == describe.gpu_hours() == 0
    assert describe.endpoint == pytest.approx((describe.read * 2 + describe.generated * 10) / 1e6)
    assert within(2, describe.endpoint, 2 * neurons * 50 * (1200 * 2 + 25 * 10) / 1e6)
    # Its jobs ask one after the other, however many GPUs there are.
    assert plan.critical_path(10_000) > describe.jobs * describe.seconds / 3600


def test_samples_of_a_draw_share_their_prompt():
    explainer = {"client": "openai", "model": "gpt", "prices": {"prompt": 2.0, "completion": 10.0}}
    for changes in ({}, {"descriptions__explainer": explainer}):
        raw = changed(published(), descriptions__candidates=8, **changes)
        one, four = (stage(planned(changed(raw, descriptions__samples=n)), "describe") for n in (1, 4))
        assert (four.read, four.generated) == (pytest.approx(one.read / 4), one.generated)
        assert one.endpoint - four.endpoint == pytest.approx((one.read - four.read) * 2 / 1e6 * bool(changes))
        assert four.seconds < one.seconds or changes
    raw = changed(published(), descriptions__candidates=8, descriptions__samples=4)
    for alone in ({"several": False}, {"client": "anthropic"}):
        assert stage(planned(changed(raw, descriptions__explainer=explainer | alone)), "describe").read == one.read


def test_a_race_saves_more_than_two_thirds_of_the_candidates_share():
    full = stage(planned(changed(published(), scores__nulls=0, scores__race_from=None)), "score")
    raced = stage(planned(changed(published(), scores__nulls=0)), "score")
    assert raced.read == pytest.approx(full.read * (50 / 3 + 1) / 51)


def test_ceilings_count_what_is_about_to_start():
    stages = [Stage("a", 4, 3600, 0, gpus=1, endpoint=8.0), Stage("b", 2, 60, 0, kept=4e9, temporary=2e9)]
    plan = Plan(stages, 1, 1.5, [], {"gpu_hours": 3.0, "dollars": 14.0, "gigabytes": 5.0})
    assert plan.totals() == {"gpu_hours": 4.0, "dollars": 14.0, "gigabytes": 6.0}
    assert plan.passed() == [
        "4 gpu hours planned, plan.ceilings.gpu_hours is 3",
        "6 gigabytes planned, plan.ceilings.gigabytes is 5",
    ]
    assert plan.passed({"a": 3, "b": 1}) == []
    assert plan.passed({"a": 4}) == ["4 gpu hours planned, plan.ceilings.gpu_hours is 3"]
    assert "ABOVE A CEILING" in plan.text()


def test_the_table_names_every_stage_total_and_assumption():
    plan = planned(changed(tiny_config(), plan__dollars_per_gpu_hour=3.0))
    text = plan.text()
    for s in plan.stages:
        assert s.rule in text
    for key in ("teraflops", "parameters", "generated_token_cost", "dollars_per_gpu_hour"):
        assert f"plan.{key}" in text
    total = next(line for line in text.splitlines() if line.startswith("total"))
    assert math.isclose(float(total.split()[-1]), plan.totals()["gpu_hours"] * 3, rel_tol=0.01)


def test_unknown_models_cannot_have_parameters():
    with pytest.raises(ValueError, match=r"plan.parameters: gpt: not among models"):
        load_config(changed(tiny_config(), plan__parameters={"gpt": 1.0}))


def test_jobs_take_the_devices_that_the_configuration_says():
    config = changed(tiny_config(), subject__device_map="auto", subject__devices=2)
    config["descriptions"]["explainer"] |= {"client": "vllm", "devices": 4}
    config = load_config(config)
    stages = {stage.rule: stage.gpus for stage in make_plan(config, *described_and_kept(config)).stages}
    assert (stages["harvest"], stages["describe"], stages["score"]) == (2, 4, 1)
    with pytest.raises(ValueError, match=r"subject\.devices is 2, .*set subject\.device_map: auto"):
        load_config(changed(tiny_config(), subject__devices=2))


def test_panels_are_reckoned_from_first_principles():
    raw = published() | {"panel": {"tokens": 20_000}}
    without, plan = planned(published()), planned(raw)
    harvest, types = (stage(plan, rule) for rule in ("harvest_panel", "type_neurons"))
    assert harvest.kept == 2 * LAYERS * NEURONS * 20_000 * 2  # two panels of bfloat16: 18 GB each
    assert harvest.jobs * harvest.seconds < 0.01 * stage(plan, "harvest").jobs * stage(plan, "harvest").seconds
    assert harvest.memory_mb > LAYERS * NEURONS * 20_000 * 2 / 1e6  # a job keeps all layers of one
    few = planned(changed(raw, exemplars__layers_per_job=8))
    assert stage(few, "harvest_panel").memory_mb < harvest.memory_mb
    assert stage(few, "harvest_panel").kept == harvest.kept
    assert types.jobs == LAYERS
    # The empty description and eight lists, on what all descriptions share: once for the run.
    nulls, alone = (
        stage(plan, "simulate_nulls"),
        stage(planned(changed(raw, scores__panel_token_lists=0)), "simulate_nulls"),
    )
    assert nulls.jobs == 1 and nulls.read == pytest.approx(9 * alone.read)
    assert nulls.read < 1e-4 * stage(plan, "score_natural").read
    assert {s.rule for s in plan.stages} - {s.rule for s in without.stages} == {
        "build_panel", "harvest_panel", "type_neurons", "score_natural", "simulate_nulls",
        "compare_natural",
    }  # fmt: skip


def test_features_like_one_another_are_reckoned_by_pairs():
    raw = published() | {"panel": {"tokens": 20_000}}
    asked, twice = (planned(changed(raw, panel__neighbours=10, panel__tokens=n)) for n in (20_000, 40_000))
    assert {s.rule for s in asked.stages} - {s.rule for s in planned(raw).stages} == {"find_neighbours"}
    one, other = (stage(plan, "find_neighbours") for plan in (asked, twice))
    assert one.jobs == LAYERS and one.kept == pytest.approx(LAYERS * NEURONS * 10 * 10, rel=0.01)
    start = load_config(raw).plan.start_seconds
    assert other.seconds - start == pytest.approx(2 * (one.seconds - start))
    assert one.seconds - start == pytest.approx(9e-11 * NEURONS * LAYERS * NEURONS * 20_000)


def test_search_by_meaning_is_reckoned_by_rows_and_dimensions():
    raw = published()
    asked = planned(changed(raw, atlas__semantic_search={"dimensions": 64}))
    assert {s.rule for s in asked.stages} - {s.rule for s in planned(raw).stages} == {
        "fetch_embeddings", "embed_descriptions"
    }  # fmt: skip
    assert stage(asked, "embed_descriptions").kept == pytest.approx(64 * (2 * LAYERS * NEURONS + 32_000), rel=0.1)
    assert stage(asked, "fetch_embeddings").fetched == pytest.approx(19.2e6, rel=0.02)


def test_gates_take_as_much_as_a_token():
    raw = published()
    one, other = (stage(planned(changed(raw, exemplars__gates=on)), "harvest") for on in (False, True))
    assert other.temporary / one.temporary == pytest.approx(1 + 240 / (240 * 65 + 2 * 2 * 8 * 110 + 4 * 3840), rel=0.02)


def test_a_comparison_is_reckoned_as_one_more_pass_over_one_panel():
    raw = published() | {"panel": {"tokens": 20_000}, "diff": {"run": "another"}}
    assert {s.rule for s in planned(raw).stages} - {s.rule for s in planned(raw | {"diff": None}).stages} == {"diff"}
    raw |= {"models": raw["models"] | {"tuned": {"source": "path", "path": "tuned"}}, "diff": {"model": "tuned"}}
    plan = planned(raw)
    other, both = stage(plan, "harvest_other"), stage(plan, "harvest_panel")
    assert (other.kept, other.read) == (both.kept / 2, both.read / 2) and other.seconds == both.seconds


def test_scorers_are_reckoned_by_what_their_judges_read():
    judges = {"local": {"model": "smollm2-135m-instruct"},
              "asked": {"client": "openai", "model": "m", "prices": {"prompt": 2.0, "completion": 8.0}}}  # fmt: skip
    scorers = {name: {"kind": "detection", "judge": judge, "close": 0, "nulls": 1} for name, judge in judges.items()}
    plan = planned(changed(tiny_config(), scores__scorers=scorers | {"read": {"kind": "simulated_detection"}}))
    signs, passages = 8, 20
    text = 40 - PREFIX  # of each sequence
    read, local = (s for s in plan.stages if s.rule == "run_scorer")
    asked = stage(plan, "ask_scorer")
    assert within(1.5, local.read, signs * 2 * passages * (text + 170))
    assert within(1.5, asked.read, signs * 2 * passages * (text + 170 / 5))
    assert asked.endpoint == pytest.approx(asked.read * 2.0 / 1e6) and asked.in_turn and not asked.gpus
    assert (local.gpus, read.gpus, read.read) == (1, 0, 0)


def test_texts_are_reckoned_as_two_answers_a_description_and_one_pass_for_all():
    endpoint = {"client": "openai", "model": "m", "prices": {"prompt": 1.0, "completion": 10.0}}
    local = {"model": "smollm2-135m-instruct"}
    section = {"kind": "generated", "texts": 5, "others": 3}
    plans = [planned(changed(tiny_config(), scores__scorers={"g": section | {"writer": w}})) for w in (local, endpoint)]
    signs, texts = 2 * 2 * 2, 2 * 2 * 2 * 2 * 5  # layers, neurons, sides; both kinds
    for plan, rule, gpus in zip(plans, ("write_texts", "ask_for_texts"), (1, 0)):
        writes, reads = stage(plan, rule), stage(plan, "run_texts")
        assert (writes.jobs, writes.gpus, reads.jobs, reads.gpus) == (2, gpus, 1, 1)
        assert within(2, writes.generated, texts * 20) and within(2, writes.read, 2 * signs * 150)
        assert within(2, reads.read, texts * (20 + PREFIX))
        assert stage(plan, "run_scorer").gpus == 0
    asked = stage(plans[1], "ask_for_texts")
    assert asked.endpoint == pytest.approx((asked.read + 10 * asked.generated) / 1e6)


def test_a_simulator_that_is_asked_costs_dollars_and_no_gpu():
    client = {"client": "openai", "model": "m", "prices": {"prompt": 1.0, "completion": 10.0}}
    usual = planned(tiny_config())
    plan = planned(changed(tiny_config(), scores__simulator={"kind": "asked", "client": client}))
    score, local = stage(plan, "score"), stage(usual, "score")
    assert (score.jobs, score.gpus, local.gpus) == (local.jobs, 0, 1) and score.generated > score.read
    assert score.endpoint == pytest.approx((score.read + 10 * score.generated) / 1e6) and score.in_turn


def test_a_screen_has_a_row_and_leaves_the_large_simulator_what_it_keeps():
    raw = changed(published(), scores__nulls=0, models__small={"source": "random", "base": "llama-8b-simulator"})
    raw["plan"]["parameters"]["small"] = 0.5
    screen = {"simulator": {"kind": "finetuned", "model": "small"}, "keep": 5}
    full, plan = planned(raw), planned(changed(raw, scores__screen=screen))
    small, score = stage(plan, "screen"), stage(plan, "score")
    assert small.jobs == score.jobs and small.gpus == 1 and "  nulls" not in plan.text()
    every = stage(full, "score").read / (50 / 3 + 1)  # of one description of each
    assert (small.read, score.read) == (pytest.approx(50 * every), pytest.approx(6 * every))
    assert small.gpu_hours() < 50 / 6 * score.gpu_hours() * 0.5 / 8.03 * 1.2
    assert plan.totals()["gpu_hours"] < full.totals()["gpu_hours"]


def test_the_rows_under_a_stage_say_what_it_reads_for():
    plan = planned(published())
    score = stage(plan, "score")
    assert dict(score.parts)["nulls"] == pytest.approx(20 / (50 / 3 + 1 + 20))
    assert sum(share for _, share in score.parts) == pytest.approx(1)
    lines = [line.split() for line in plan.text().splitlines()]
    nulls = next(line for line in lines if line[:1] == ["nulls"])
    assert nulls[1:] == [short(dict(score.parts)["nulls"] * v) for v in
                         (score.gpu_hours(), score.read, score.gpu_hours() * plan.gpu_hour)]  # fmt: skip


@pytest.mark.parametrize(("device", "teraflops"), [("a100", 125.0), ("h100", 395.0), ("h200", 395.0), ("gpu", 125.0)])
def test_named_devices_bring_their_speed_and_a_stated_one_counts(device, teraflops):
    raw = changed(published(), plan__device=device)
    assert load_config(raw).plan.teraflops == teraflops
    assert load_config(changed(raw, plan__teraflops=9.0)).plan.teraflops == 9.0


def test_the_plan_says_what_precision_the_money_buys():
    plan = planned(changed(published(), panel={"tokens": 20_000}))
    natural = stage(plan, "score_natural")
    dollars = natural.gpu_hours() * 2.0
    assert plan.precision == [
        f"a score's interval reaches about {width} to each side with {drawn} sequences drawn:"
        f" {short(dollars * (28 + drawn) / 76)} dollars{' (this run)' * (drawn == 48)}"
        for width, drawn in (("0.064", 24), ("0.045", 48), ("0.022", 192))
    ]
    assert all(line in plan.text() for line in plan.precision)
    assert "no panel" in planned(published()).precision[0]


def test_weights_on_disk_are_within_one_and_a_half_of_what_the_demo_fetches_and_merges():
    config = demo_config()
    planned = {s.rule: s.kept for s in make_plan(load_config(config), *described_and_kept(load_config(config))).stages}
    model = 134_515_008  # parameters of SmolLM2-135M: float32 as fetched from a GGUF file, bfloat16 when merged
    assert within(1.5, planned["fetch_model"], 4 * model)
    cut = 9 * 3_540_096  # layers that one of the two simulators is without
    assert within(1.5, planned["merge_adapter"], 2 * (model + model - cut))
    config["plan"] = {"parameters": dict.fromkeys(config["models"], 0.135)}
    planned = {s.rule: s.kept for s in make_plan(load_config(config), *described_and_kept(load_config(config))).stages}
    assert within(1.01, planned["fetch_model"], 4 * model)
