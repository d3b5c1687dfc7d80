"""The documentation: its links lead somewhere, its commands name what there is, the README stays short."""

import csv
import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

import reruns
from conftest import ROOT
from neuron_descriptions.concepts.vocabulary import is_debris
from neuron_descriptions.panel.tables import TYPES

PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "config").rglob("*.md")],
    key=lambda page: page.relative_to(ROOT),
)


def anchors(page: Path) -> set[str]:
    """A page's headings as GitHub makes anchors of them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert file.is_relative_to(ROOT), target
        assert not anchor or anchor in anchors(file), target


def commands() -> list[tuple[str, str]]:
    """Page and command line of every shell block."""
    return [
        (str(page.relative_to(ROOT)), line)
        for page in PAGES
        for block in re.findall(r"^ *```sh\n(.*?)```", page.read_text(), re.MULTILINE | re.DOTALL)
        for line in block.splitlines()
    ]


def test_make_targets_that_pages_name_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {match for page in PAGES for match in re.findall(r"`make ([a-z-]+)", page.read_text())}
    named |= {match for _, line in commands() for match in re.findall(r"^\s*make ([a-z-]+)", line)}
    assert len(named) >= 10
    assert named <= targets


def test_files_that_commands_name_exist():
    named = {
        (page, file) for page, line in commands() for file in re.findall(r"\b(?:config|profiles)/[\w./-]+\w", line)
    }
    assert len(named) >= 5
    missing = {(page, name) for page, name in named if not (ROOT / name).exists() and "yours" not in name}
    assert missing == set()


def test_every_page_of_the_docs_is_reached_from_the_readme():
    seen, todo = set(), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        links = re.findall(r"\]\(([^)#\s]+)", page.read_text())
        todo += [(page.parent / link).resolve() for link in links if not link.startswith("http")]
    assert {page for page in PAGES if page.is_relative_to(ROOT / "docs")} <= seen


def test_the_readme_is_short_and_begins_with_the_two_commands():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 150
    first_screen = "\n".join(lines[:30])
    assert "make demo" in first_screen
    assert "make test" in first_screen


def test_the_page_of_what_runs_again_is_the_tests_and_leaves_no_rule_out():
    assert reruns.PAGE.read_text() == reruns.documentation(), "run `make docs`"
    named = set().union(*(rules for _, rules in reruns.BY_KEY))
    assert named <= set().union(*reruns.STAGES.values())


def test_the_catalogs_files_are_there():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    wanted = {"LICENSE", "CITATION.cff", "CHANGELOG.md", "CONTRIBUTING.md", ".editorconfig", ".pre-commit-config.yaml"}
    assert wanted | {".snakemake-workflow-catalog.yml", "config/README.md"} <= set(tracked)


def test_the_reading_of_the_demo_is_counted_as_it_is():
    """One row for both signs of each of the demo's neurons, its counts as the docs have them, and no debris."""
    with (ROOT / "docs/demo-reading.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with (ROOT / "config/demo-neurons.csv").open(newline="") as file:
        neurons = {(row["layer"], row["neuron"]) for row in csv.DictReader(file)}
    assert {(row["layer"], row["neuron"]) for row in rows} == neurons and len(rows) == 2 * len(neurons)
    assert {row["type"] for row in rows} == set(TYPES)
    counts = Counter(row["reading"] for row in rows)
    told = f"{counts['fits']} of the {len(rows)} descriptions fit, {counts['partly']} fit partly,"
    told += f" {counts['wrong']} {'is' if counts['wrong'] == 1 else 'are'} wrong"
    assert told in " ".join((ROOT / "README.md").read_text().split())
    said = [row["description"] for row in rows if row["reading"] != "no pattern"]
    assert not [text for text in said if is_debris(text)]
