"""What the workflow's tests ask and read: six of the demo model's thirty layers, and some of the demo's documents. Real
weights and real text; a whole run on them takes half the time, and nearly all of it is the workflow's own."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq

# Beside the finished run, so that later calls of pytest find them.
SMALL = Path(__file__).parents[1] / ".pytest_cache/small"
MODEL = "shallow"
# The first ones and the last: what is between needs the most time.
LAYERS = (0, 1, 2, 3, 28, 29)
DOCUMENTS = {"sotu": 40, "factbook": 40, "chitchat": 400}


def write_small(fetched: dict[str, Path], folder: Path) -> None:
    """Write the model's folder and a table of documents per source."""
    _write_shallow(fetched["smollm2"], folder / MODEL)
    for name, count in DOCUMENTS.items():
        _replace(folder / f"{name}.parquet", lambda path, n=name, c=count: pq.write_table(_first(fetched[n], c), path))


def _first(path: Path, count: int):
    return pq.read_table(path).slice(0, count)


def _write_shallow(model: Path, folder: Path) -> None:
    """Write a model with the LAYERS alone."""
    from safetensors.torch import load_file, save_file

    weights = {}
    for name, tensor in load_file(model / "model.safetensors").items():
        found = re.match(r"model\.layers\.(\d+)\.(.*)", name)
        if found is None:
            weights[name] = tensor
        elif int(found[1]) in LAYERS:
            weights[f"model.layers.{LAYERS.index(int(found[1]))}.{found[2]}"] = tensor
    settings = json.loads((model / "config.json").read_text())
    folder.mkdir(parents=True, exist_ok=True)
    for path in (*model.glob("*.json"), *model.glob("*.jinja")):
        shutil.copyfile(path, folder / path.name)
    (folder / "config.json").write_text(json.dumps(settings | {"num_hidden_layers": len(LAYERS)}))
    _replace(folder / "model.safetensors", lambda path: save_file(weights, path, {"format": "pt"}))


def _replace(path: Path, write: Callable[[Path], None]) -> None:
    """Other calls of pytest may be reading it."""
    part = path.with_name(f".{path.name}.part")
    write(part)
    part.replace(path)


def made_smaller(config: dict) -> None:
    """Explainer, simulator and text of a configuration become the small ones; its subject stays whole."""
    config["models"][MODEL] = {"source": "path", "path": str(SMALL / MODEL)}
    config["descriptions"]["explainer"] = {"model": MODEL}
    config["scores"]["simulator"] = {"model": MODEL}
    for name, source in config["corpus"]["sources"].items():
        kept = {key: source[key] for key in ("format", "ratio")}
        field = "messages" if source["format"] == "chat" else "text"
        path = str(SMALL / f"{name}.parquet")
        config["corpus"]["sources"][name] = {"source": "path", "path": path, **kept, "field": field}
