"""Which rules run again when a key of the configuration changes. `python tests/reruns.py` (`make docs`) writes
docs/reference/reruns.md; tests/workflow/test_staleness.py holds each row against Snakemake's own plan."""

from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "docs/reference/reruns.md"

AFTER_SCORES = {"build_atlas", "write_details", "write_atlas_page", "plot_scores", "write_provenance"}
SCORES = {"score", *AFTER_SCORES}
SIMULATED = {"probe", *SCORES}  # what the simulator decides
DESCRIPTIONS = {"describe", "account", "pool_nulls", *SCORES}
CONCEPTS = {"find_concepts", "score_concepts"}
EXEMPLARS = {"harvest", "merge_exemplars", *DESCRIPTIONS}

# `section__key` -> another value, of the tests' smallest run; the rules that run again.
BY_KEY: list[tuple[dict[str, Any], set[str]]] = [
    ({"corpus__seq_len": 44}, {"build_corpus", "probe", *EXEMPLARS}),
    ({"exemplars__k": 13}, EXEMPLARS),
    ({"exemplars__batch_size": 16}, EXEMPLARS),
    ({"descriptions__temperature": 0.9}, DESCRIPTIONS),
    ({"descriptions__candidates": 3}, DESCRIPTIONS),
    ({"descriptions__few_shot": {"place": "system"}}, DESCRIPTIONS),
    ({"scores__simulator__kind": "finetuned"}, SIMULATED),
    ({"scores__simulator__batch_tokens": 4096}, SIMULATED),
    ({"scores__simulator__dtype": "float32"}, SIMULATED),
    ({"scores__null_neurons": 1}, {"pool_nulls", *SCORES}),
    ({"scores__nulls": 3}, SCORES),
    ({"scores__top": 4}, SCORES),
    ({"scores__middle": 2, "scores__random": 2}, SCORES),
    ({"scores__race_from": 2}, SCORES),
    ({"scores__pool_nulls": True}, AFTER_SCORES),
    ({"scores__probe": "warn"}, {"write_provenance"}),
    # The report holds them too.
    ({"atlas__exemplars": 7}, {"write_details", "write_atlas_page", "write_provenance"}),
    ({"plan__teraflops": 300.0, "plan__margin": 2.0}, set()),
]
# Rules that make a part of the results, in the order in which they run.
STAGES = {
    "the corpus": {"build_corpus"},
    "exemplars": {"harvest", "merge_exemplars"},
    "descriptions": {"describe", "account"},
    "the probe": {"probe"},
    "nulls": {"pool_nulls"},
    "scores": {"score"},
    "the atlas's table": {"build_atlas", "plot_scores"},
    "its pages": {"write_details", "write_atlas_page"},
    "provenance": {"write_provenance"},
}


HEAD = """# What runs again when a key changes

Generated from tests/reruns.py by `make docs`; do not edit. Each row is a test: a finished run of the smallest
configuration is planned with another value of the key.

*The atlas* stands for {after}.

| key | made again | rules |
| --- | --- | --- |
"""
FOOT = """
If a section `panel` is switched on, the panel is read, scores are made on it, and the atlas is made anew; exemplars,
descriptions and contrast scores stand. A new key with its default, a comment, a touched file: nothing runs again. For
any other key ask `snakemake -n --configfile config/yours.yaml`, which says what would run.
"""


def documentation() -> str:
    """The page."""
    lines = []
    for changes, rules in BY_KEY:
        keys = ", ".join(f"`{key.replace('__', '.')}`" for key in changes)
        whole = rules >= AFTER_SCORES
        first = rules - AFTER_SCORES if whole else rules
        made = [name for name, makers in STAGES.items() if makers & first] + ["the atlas"] * whole
        names = _ordered(first) + ["*the atlas*"] * whole
        lines.append(f"| {keys} | {', '.join(made) or 'nothing'} | {', '.join(names)} |\n")
    return HEAD.format(after=", ".join(_ordered(AFTER_SCORES))) + "".join(lines) + FOOT


def _ordered(rules: set[str]) -> list[str]:
    return [f"`{rule}`" for makers in STAGES.values() for rule in sorted(makers) if rule in rules]


if __name__ == "__main__":
    PAGE.write_text(documentation())
