"""What is said about a wrong configuration: the key, in plain words, and what to write instead."""

from typing import Any

import pytest
import yaml

from conftest import demo_config
from neuron_descriptions.config.base import names_as_typed
from neuron_descriptions.config.messages import RENAMED
from neuron_descriptions.config.sections import load_config

INF = float("inf")


def demo(changes: dict[str, Any]) -> dict[str, Any]:
    """The demo's configuration with keys, written with dots, set."""
    config = demo_config()
    for key, value in changes.items():
        *sections, name = key.split(".")
        place = config
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = value
    return config


def refusal(**changes: Any) -> str:
    """What is said about the demo's configuration with these changes."""
    with pytest.raises(ValueError, match="the configuration is not valid") as caught:
        load_config(demo(changes))
    return str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("exemplars.k", 32_768),
        ("exemplars.middle", 32_768),
        ("exemplars.random", 32_768),
        ("scores.nulls", 32_768),
        ("descriptions.attempts", 32_768),
        ("subject.layers", 32_768),
        ("corpus.sequences.train", 10**12),
        ("neurons.chunk_size", 10**12),
        ("scores.bootstrap", 10**9),
        ("seed", 2**63),
        ("descriptions.temperature", INF),
        ("descriptions.temperature", float("nan")),
        ("exemplars.state_gb", INF),
        ("plan.margin", INF),
        ("plan.ceilings.dollars", INF),
    ],
)
def test_numbers_are_bounded(key, value):
    assert f"  {key}: " in refusal(**{key: value})


@pytest.mark.parametrize(
    "key",
    [
        "neurons.file",
        "descriptions.prompt",
        "descriptions.concept_rules",
        "scores.simulator.prompt",
        "scores.descriptions",
        "scores.null_descriptions",
    ],
)
@pytest.mark.parametrize("path", ["a{b}.yaml", "<results>/x.csv", "a}", " ", "a\0b"])
def test_paths_that_snakemake_would_read_otherwise(key, path):
    said = refusal(**{key: path})
    assert f"  {key}: " in said
    assert not set(path) & set("{}<>") or "Snakemake would read as a wildcard" in said


def test_models_on_each_other_in_a_circle():
    models = {f"models.{a}": {"source": "random", "base": b} for a, b in ("xy", "yx")}
    assert "models.x.base: x -> y -> x goes in a circle" in refusal(**models)


@pytest.mark.parametrize("value", [INF, yaml.safe_load("2026-01-01"), {"a": {1, 2}}])
def test_a_body_is_json(value):
    explainer = {"client": "openai", "model": "m", "body": {"top_p": value}}
    assert "descriptions.explainer.body: it holds what JSON cannot say" in refusal(
        **{"descriptions.explainer": explainer}
    )


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        (
            "neurons.indices",
            "100-102",
            """neurons.indices: '100-102' is text, not 'all' or a list: write ["100-102"]""",
        ),
        ("neurons.indices", 5, "neurons.indices: 5 is a number, not 'all' or a list: write [5]"),
        ("neurons.indices", [-1], "neurons.indices.0: -1 must be at least 0"),
        ("neurons.layers", [0, -1], "neurons.layers.1: -1 must be at least 0"),
        ("run", "a b/1", "run: 'a b/1' is not of the form of a name: letters, digits"),
        ("run", 1.5, 'run: 1.5 is a number, not text: put it in quotes, "1.5"'),
        ("run", yaml.safe_load("2026-01-01"), 'run: 2026-01-01 is a date, not text: put it in quotes, "2026-01-01"'),
        ("run", True, "run: true is true or false, not text: YAML reads yes, no, on and off as true and false"),
        ("seed", 1.0, "seed: 1.0 is a number, not a whole number: write 1"),
        ("seed", "1e3", "seed: '1e3' is text, not a whole number: YAML reads it as a number when written 1000"),
        ("seed", "\uff11", "seed: '\uff11' is text, not a whole number"),
        ("exemplars.k", "20", "exemplars.k: '20' is text, not a whole number: write it without quotes; values that"),
        ("exemplars.kk", 3, "exemplars.kk: unknown key; did you mean `k`?"),
        ("scores.simulator.batch_token", 3, "scores.simulator.batch_token: unknown key; did you mean `batch_tokens`?"),
        ("descriptions.explainer.modle", 3, "descriptions.explainer.modle: unknown key; did you mean `model`?"),
        ("seq_len", 3, "seq_len: unknown key; it stands under another section: corpus.seq_len"),
        ("nulls", 3, "nulls: unknown key; it stands under another section: scores.nulls"),
        ("zzz", 3, "zzz: unknown key; see config/README.md"),
        ("subject.dtype", "fp16", "subject.dtype: 'fp16' is not one of 'float32', 'bfloat16' or 'float16'"),
        ("descriptions.temperature", "1e-1", "not a number: YAML reads it as a number when written 0.100000"),
        ("corpus", "{seq_len: 3}", "corpus: '{seq_len: 3}' is text, not a section of keys with values; values that"),
        ("scores", None, "scores: null is empty, not a section"),
        ("corpus.chat_prefix", "yes", "corpus.chat_prefix: 'yes' is text, not true or false: write it without quotes"),
        ("models.hub", {"source": "hub", "repo": "a", "revision": 3}, """hub.revision: 3 is a number, not text: put"""),
        ("models.file", {"source": "hub", "repo": "a", "revison": "b"}, "models.file.revison: unknown key; did you"),
        ("models.a b", {"source": "hub", "repo": "a", "revision": "b"}, "models.a b: 'a b' is not of the form"),
        ("models.m", {"source": "ftp"}, "models.m.source: 'source' is 'ftp'; it is one of 'hub', 'wheel', 'path'"),
    ],
)
def test_wrong_keys_in_plain_words(key, value, said):
    found = refusal(**{key: value})
    assert said in found
    assert not any(word in found for word in ("Input should", "list[", "constrained"))


@pytest.mark.parametrize("key", RENAMED)
def test_a_key_that_had_another_name_is_refused_by_its_new_one(key):
    section, new = key.split(".")[0], RENAMED[key]
    assert f"  {key}: this key is called `{new}` now; rename it" in refusal(**{key: 1.0})
    assert getattr(getattr(load_config(demo({f"{section}.{new}": 7.0})), section), new) == 7.0


def test_a_run_may_be_called_by_a_number():
    assert load_config(demo({"run": 2025})).run == "2025"
    assert load_config(demo({"run": 2025})) == load_config(demo({"run": "2025"}))


@pytest.mark.parametrize(
    ("typed", "read", "name"),
    [("010", 10, "010"), ("2025_01", 202501, "2025_01"), ("1e5", 1e5, "1e5"), ('"007"', 7, "007"), ("7", 8, 8)],
)
def test_a_run_is_called_as_it_was_typed(typed, read, name):
    """Snakemake makes numbers of what stands after --config."""
    config = {"run": read, "seed": 10}
    names_as_typed(config, [f"run={typed}", "seed=010", "evidence=3"])
    assert config == {"run": name, "seed": 10}
    names_as_typed(config, None)


@pytest.mark.parametrize(
    ("explainer", "said"),
    [
        ({"key_variable": "sk-hush"}, "key_variable: it is no name of an environment variable"),
        ({"base_url": "https://host/v1?api-key=hush"}, "base_url: it has a secret in it"),
        ({"base_url": "https://me:hush@host"}, "base_url: it has a secret in it"),
        ({"base_url": "https://hush@host"}, "base_url: not an http(s) address"),
        ({"base_url": "https://"}, "base_url: not an http(s) address"),
        ({"body": {"extra": [{"Authorization": "Bearer hush"}]}}, "body: Authorization: it is kept with the results"),
    ],
)
def test_a_secret_in_the_configuration_is_refused_and_not_shown(explainer, said):
    found = refusal(**{"descriptions.explainer": {"client": "openai", "model": "m", **explainer}})
    assert f"descriptions.explainer.{said}" in found and "hush" not in found
    found = refusal(publish={"bucket": "b", "endpoint": "https://me:hush@host"})
    assert "publish.endpoint: it has a secret in it" in found and "hush" not in found


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("models.m", {"source": "hub", "repo": "https://me:hush@host/m", "revision": "main"}),
        ("models.m", {"source": "hub", "repo": "a/b", "revison": "hf_hushhush_hushhush"}),
        ("scores.descriptions", "s3://me:hush@bucket/x.csv"),
        ("descriptions.explainer", {"client": "openai", "model": "m", "body": {"x": ["Bearer hushhushhush"]}}),
        ("descriptions.explainer", {"client": "openai", "model": "m", "base_url": "https://h/sk-hushhushhushhush/v1"}),
        (
            "descriptions.explainer",
            {"client": "openai", "model": "m", "base_url": "https://h/v1?subscription-key=hush"},
        ),
        ("descriptions.explainer", {"client": "openai", "model": "m", "base_url": "https://h/v1#access_key=hush"}),
        ("descriptions.explainer", {"client": "openai", "model": "m", "base_url": "https://[hush"}),
        ("descriptions.explainer", {"client": "openai", "model": "m", "body": {"headers": {"Cookie": "hush"}}}),
        ("zzz", "glpat-hushhushhushhush"),
    ],
)
def test_a_secret_in_any_place_is_refused_and_not_shown(key, value):
    with pytest.raises(ValueError, match=r"secret|not an http") as caught:
        load_config(demo({key: value}))
    assert key.split(".")[0] in str(caught.value) and "hush" not in str(caught.value)


def test_an_address_and_a_body_without_secrets_are_taken():
    explainer = {
        "client": "openai",
        "model": "m",
        "base_url": "HTTPS://host/v1?api-version=2",
        "body": {"max_tokens": 5, "prompt_cache_key": "run-1", "metadata": {"author": "me", "task": "sk-1"}},
    }
    assert load_config(demo({"descriptions.explainer": explainer}))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("exports.repository", "../neurons", "'../neurons' is not of the form owner/name"),
        ("run", "a" * 101, "has more than 100 characters"),
        ("scores.scorers", {"Bad Name": {"kind": "simulated_detection"}}, "small letters, digits and `_`"),
        ("seed", "08", "YAML reads it as text, for the zero in front; write 8"),
    ],
)
def test_names_that_cannot_be(key, value, said):
    assert said in refusal(**{key: value})
