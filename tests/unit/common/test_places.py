"""Files that a configuration names, found from wherever Snakemake runs."""

import pytest

from conftest import changed, demo_config
from neuron_descriptions.common.places import find, found, matching_files
from neuron_descriptions.config.sections import load_config
from neuron_descriptions.run.selection import described_and_kept


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """A working directory, a checkout beside it, and a home folder."""
    for name in ("work", "checkout/texts", "home"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


def test_the_working_directory_comes_before_the_checkout(folders):
    (folders / "checkout/a.yaml").touch()
    assert find("a.yaml", folders / "checkout") == "../checkout/a.yaml"
    (folders / "work/a.yaml").touch()
    assert find("a.yaml", folders / "checkout") == "a.yaml"


def test_home_folders_absolute_paths_and_globs_are_found(folders):
    (folders / "home/model").mkdir()
    (folders / "checkout/texts/one.txt").touch()
    assert find("~/model", folders / "checkout") == str(folders / "home/model")
    assert find(str(folders / "checkout/texts")) == str(folders / "checkout/texts")
    assert find("texts/*.txt", folders / "checkout") == "../checkout/texts/*.txt"
    assert find("texts/*.jsonl", folders / "checkout") is None


def test_a_missing_file_is_named_with_its_key_and_where_it_was_looked_for(folders):
    with pytest.raises(ValueError, match=r"training\.rules: a\.yaml does not exist \(looked in .*work and in .*out\)"):
        found("a.yaml", "training.rules", folders / "checkout")
    with pytest.raises(ValueError, match=r"~/a\.yaml does not exist$"):
        found("~/a.yaml", "training.rules", folders / "checkout")


def test_neurons_come_from_a_file_beside_the_snakefile_too(folders):
    (folders / "checkout/mine.csv").write_text("layer,neuron\n3,7\n")
    config = load_config(changed(demo_config(), neurons={"file": "mine.csv"}))
    assert described_and_kept(config, folders / "checkout")[0].neurons == {3: [7]}


def test_what_systems_and_editors_leave_beside_texts_is_no_text(folders):
    texts = folders / "checkout/texts"
    names = ("b.txt", "a.txt", ".DS_Store", "._a.txt", ".a.txt.swp", "a.txt~", ".git/c.txt")
    for name in names:
        (texts / name).parent.mkdir(exist_ok=True)
        (texts / name).touch()
    for pattern in (texts, texts / "*", texts / "*.txt", texts / "**/*.txt", "../checkout/texts"):
        assert [path.name for path in matching_files(str(pattern)) if path.is_file()] == ["a.txt", "b.txt"], pattern
    assert [path.name for path in matching_files(str(texts / ".git/*.txt"))] == ["c.txt"]
    assert matching_files(str(texts / ".DS_Store")) == [texts / ".DS_Store"]
