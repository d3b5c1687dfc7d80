"""The page's scripts are sound; and what is not is found, with its file and line."""

import shutil

import pytest

from lint_page import faults
from neuron_descriptions.atlas.site import PAGES


def test_the_page_s_scripts_are_sound():
    assert faults() == []


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("const drawn = drawNeurons;", "'drawNeurons' is not defined"),
        ("function never() { return layers; }", "Function 'never' is declared but never used"),
        ("let kept = 1; say(kept);", "prefer-const"),
        ("if (layers == null) say('');", "eqeqeq"),
    ],
)
def test_a_fault_is_found_where_it_stands(tmp_path, code, message):
    pages = tmp_path / "pages"
    shutil.copytree(PAGES, pages)
    script = pages / "neuron.js"
    lines = len(script.read_text().split("\n"))
    script.write_text(script.read_text() + f"\n{code}")
    assert any(message in fault and fault.startswith(f"neuron.js:{lines + 1}:") for fault in faults(pages))
