"""What a user's files hold is told by their content, whatever their times and neighbours."""

import os

import numpy as np
import pytest
from safetensors.numpy import save_file

from neuron_descriptions.run import fingerprints


@pytest.fixture
def folder(tmp_path):
    """A model's folder, its weights larger than what is read whole."""
    (tmp_path / "config.json").write_text('{"hidden_size": 8}')
    (tmp_path / "tokenizer.json").write_text('{"vocab": "%s"}' % ("word " * 200_000))
    save_file({"a": np.arange(1_000_000, dtype=np.float32)}, tmp_path / "model.safetensors")
    return tmp_path


def now(path):
    """Told without what an earlier call remembers."""
    fingerprints.model_fingerprint.cache_clear()
    fingerprints.texts_fingerprint.cache_clear()
    return fingerprints.model_fingerprint(str(path))


def test_a_model_is_known_by_what_loading_reads(folder, tmp_path_factory):
    before = now(folder)
    (folder / "README.md").write_text("# A model")
    (folder / ".gitattributes").write_text("*.safetensors filter=lfs")
    (folder / "model.safetensors.lock").touch()
    (folder / ".cache").mkdir()
    (folder / ".cache/config.json").write_text("{}")
    for path in folder.rglob("*"):
        os.utime(path, (1, 1))
    assert now(folder) == before
    moved = tmp_path_factory.mktemp("moved") / "elsewhere"
    folder.rename(moved)
    assert now(moved) == before


def test_an_edit_of_a_model_is_seen(folder):
    seen = {now(folder)}
    text = folder / "tokenizer.json"
    written = text.read_text()
    text.write_text(written[:500_000] + "W" + written[500_001:])  # one character of a large file, its size the same
    seen.add(now(folder))
    save_file({"a": np.arange(1_000_000, dtype=np.float32) * 1.01}, folder / "model.safetensors")
    seen.add(now(folder))
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    seen.add(now(folder))
    (folder / "chat_template.jinja").rename(folder / "generation_config.json")
    seen.add(now(folder))
    assert len(seen) == 5


def test_texts_are_known_by_what_their_pattern_matches(tmp_path):
    def told(pattern):
        fingerprints.texts_fingerprint.cache_clear()
        return fingerprints.texts_fingerprint(str(tmp_path / pattern))

    (tmp_path / "a.txt").write_text("One text.")
    (tmp_path / "b.md").write_text("A note.")
    one = told("*.txt")
    assert told("a.txt") == one != told(".")
    (tmp_path / "b.md").write_text("Another note.")
    assert told("*.txt") == one
    (tmp_path / "c.txt").write_text("A second text.")
    assert told("*.txt") != one
    assert told("*.jsonl")  # the job says that there are none


def test_an_adapter_is_known_by_its_settings_not_their_layout(tmp_path):
    file = tmp_path / "adapter_config.json"
    file.write_text('{"r": 16, "lora_alpha": 32}')
    before = fingerprints.adapter_fingerprint(str(tmp_path))
    file.write_text('{\n "lora_alpha": 32,\n "r": 16\n}\n')
    assert fingerprints.adapter_fingerprint(str(tmp_path)) == before
    file.write_text('{"r": 16, "lora_alpha": 32000}')
    assert fingerprints.adapter_fingerprint(str(tmp_path)) != before
    file.unlink()
    assert fingerprints.adapter_fingerprint(str(tmp_path)) not in ("", before)


def test_a_yaml_file_is_known_by_what_it_holds(tmp_path):
    def told(content):
        (tmp_path / "a.yaml").write_bytes(content)
        fingerprints.yaml_fingerprint.cache_clear()
        return fingerprints.yaml_fingerprint(str(tmp_path / "a.yaml"), "key")

    before = told(b"a: 1\nb: |\n  x\n  y\n")
    same = (b"# c\nb: |\n  x\n  y\na: 1 # d\n\n", b"a: 1\r\nb: |\r\n  x\r\n  y\r\n", b'\xef\xbb\xbfa: 1\nb: "x\\ny\\n"')
    assert {told(content) for content in same} == {before}
    assert before not in {told(b"a: 1\nb: |\n  x\n  z\n"), told(b'a: "1"\nb: |\n  x\n  y\n'), told(b"a: 1\n")}
    with pytest.raises(ValueError, match=r"key: .*a.yaml, line 2: the key 'a' stands twice"):
        told(b"a: 1\na: 2\n")
