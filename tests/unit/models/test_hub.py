"""Weights from a hub: the real client against a server on loopback that speaks as much of its protocol as needed."""

from pathlib import Path

import pytest

from hub_server import TOKEN, run_with, serve


@pytest.fixture
def hub(smollm2):
    """Address of a server with two gated repositories: own/smol, and own/pickled, whose weights are a .bin file."""
    files = {path.name: path for path in Path(smollm2).iterdir()}
    pickled = {"config.json": files["config.json"], "pytorch_model.bin": b"no weights"}
    with serve({"own/smol": files, "own/pickled": pickled}) as address:
        yield address


def fetch(hub, folder, token, repo="own/smol"):
    code = (
        "from neuron_descriptions.config.models import HubModel;"
        "from neuron_descriptions.models.fetching import fetch_model;"
        f"fetch_model(HubModel(source='hub', repo={repo!r}, revision='main'), {str(folder / 'model')!r})"
    )
    return run_with(hub, token, folder, code)


def test_weights_come_from_the_hub_with_the_token_of_the_environment(hub, smollm2, tmp_path):
    done = fetch(hub, tmp_path, TOKEN)
    assert done.returncode == 0, done.stderr
    fetched = {path.name: path for path in (tmp_path / "model").iterdir()}
    assert set(fetched) == {path.name for path in Path(smollm2).iterdir() if not path.name.startswith(".")}
    for name, path in fetched.items():
        assert path.read_bytes() == (Path(smollm2) / name).read_bytes()
        assert TOKEN.encode() not in path.read_bytes()
    assert TOKEN not in done.stdout + done.stderr


def test_weights_that_are_pickled_are_refused_with_what_to_do(hub, tmp_path):
    done = fetch(hub, tmp_path, TOKEN, "own/pickled")
    assert "own/pickled has no .safetensors weights at main; .bin files" in done.stderr
    assert "`source: path`" in done.stderr
    assert not (tmp_path / "model").exists()


def test_a_refused_token_is_an_error_that_leaves_no_folder_and_names_no_token(hub, tmp_path):
    done = fetch(hub, tmp_path, "wrong-token")
    assert done.returncode != 0
    assert not (tmp_path / "model").exists()
    assert "wrong-token" not in done.stdout + done.stderr
