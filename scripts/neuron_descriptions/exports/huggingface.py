"""A run as a dataset folder for the Hugging Face hub: README.md, its card, and data/part-<n>.parquet."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from neuron_descriptions.atlas.tables import COLUMNS
from neuron_descriptions.common.logs import logger
from neuron_descriptions.common.storage import whole, write_table
from neuron_descriptions.exports.reading import ROW, Described, FinishedRun, blocks

SHARD = 5_000  # rows of a file
EXAMPLE = pa.struct(
    [
        ("kind", pa.string()),
        ("rank", pa.int16()),
        ("seq_id", pa.int64()),
        ("source", pa.string()),
        ("tokens", pa.list_(pa.string())),
        ("activations", pa.list_(pa.float32())),
        ("gate", pa.float32()),
    ]
)
EFFECT = pa.struct([("token", pa.string()), ("effect", pa.float32())])
DATASET = pa.schema(
    [
        *ROW,
        ("density", pa.float64()),
        ("promoted", pa.list_(EFFECT)),
        ("suppressed", pa.list_(EFFECT)),
        ("exemplars", pa.list_(EXAMPLE)),
    ]
)
# What DATASET has beyond the atlas.
WORDS = {
    "run": "Name of the run.",
    "seed": "Everything random is a function of it and of what it is drawn for.",
    "subject": "The model whose neurons are described.",
    "subject_revision": "Where its weights come from, as exactly as the run's configuration says.",
    "candidate": "Number of the chosen candidate.",
    "prompt_sha256": "Of the messages that the description answers; null where no model was asked.",
    "explainer_revision": "Of the explainer; null where no model was asked, or another run's.",
    "simulator_revision": "Of the simulator.",
    "output_concepts": "What the tokens that it makes more likely have in common, by search; null where not asked.",
    "output_words": "The same in an explainer's words.",
    "output_words_auc": "How often tokens that the explainer was not shown fit these words better than drawn ones.",
    "output_words_auc_low": "Lower end of that AUC's interval.",
    "output_words_auc_high": "Upper end.",
    "output_words_null_auc": "The mean AUC of what the explainer said of other features, on the same tokens.",
    "density": "Share of the tokens of random train sequences on which the neuron is active with this sign.",
    "promoted": "Tokens that the neuron makes more likely with this sign, with its direct effect on their logits for"
    " one more unit of activation; empty where the run has no output side.",
    "suppressed": "Those that it makes less likely.",
    "exemplars": "Train sequences: kind (top, middle, random), rank, seq_id, source, tokens, activations, gate."
    " Activations are turned, so that strong is large; the gate at the peak, null where the run keeps none, is not.",
}


class HuggingFace:
    """README.md and data/."""

    def write(self, run: FinishedRun, folder: Path) -> None:
        """Write the folder."""
        n_rows = 0
        for number, features in enumerate(blocks(run.features(), SHARD)):
            table = pa.Table.from_pylist([_row(feature) for feature in features], schema=DATASET)
            write_table(table, folder / "data" / f"part-{number:05}.parquet")
            n_rows += len(table)
        (folder / "README.md").write_text(_card(run.about, n_rows))


def _row(feature: Described) -> dict[str, Any]:
    examples = [{name: getattr(e, name) for name in EXAMPLE.names} for e in feature.examples]
    ends = {
        end: [{"token": token, "effect": effect} for token, effect in getattr(feature, end)]
        for end in ("promoted", "suppressed")
    }
    return {**feature.row, "density": feature.density, **ends, "exemplars": examples}


def _card(about: dict[str, Any], n_rows: int) -> str:
    """The card; its first block is YAML, as the hub reads it."""
    bounds = [10**3, 10**4, 10**5, 10**6]
    size = next((i for i, bound in enumerate(bounds) if n_rows < bound), None)
    sizes = ["n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M"]
    facts = {
        "pretty_name": f"{about['run']}: what the neurons of {about['subject']['name']} respond to",
        "tags": ["interpretability", "neuron-descriptions"],
        "size_categories": ["n>1M" if size is None else sizes[size]],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/*.parquet"}]}],
    }
    words = {column.name: column.words for column in COLUMNS} | WORDS
    models = [f"| {role} | {about[role]['name']} | {about[role]['revision'] or ''} |" for role in
              ("subject", "explainer", "simulator")]  # fmt: skip
    return "\n".join(
        [
            "---",
            yaml.safe_dump(facts, sort_keys=False, allow_unicode=True).strip(),
            "---",
            "",
            f"# {facts['pretty_name']}",
            "",
            f"{n_rows:,} rows, one for each neuron and sign: a description in plain words, its score on held-out text"
            " with an interval and what chance gets, and the sequences that it responds to. The one split, `train`, is"
            " all of it; the name is the hub's.",
            "",
            f"Run {about['run']}, seed {about['seed']}.",
            "",
            "| | model | revision |",
            "| --- | --- | --- |",
            *models,
            "",
            "| column | type | meaning |",
            "| --- | --- | --- |",
            *(f"| `{f.name}` | {_type(f.type)} | {words[f.name]} |" for f in DATASET),
            "",
        ]
    )


def _type(kind: pa.DataType) -> str:
    return "list of structs" if pa.types.is_list(kind) else str(kind)


def push_dataset(folder: str, repository: str, private: bool, output: str) -> None:
    """Upload a dataset folder to the hub, in one commit that also takes away shards that are no more, and write what
    was uploaded as JSON.

    Raises ValueError without HF_TOKEN, and PermissionError where the hub refuses it.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    token = os.environ.get("HF_TOKEN", "").strip()
    if not token:
        raise ValueError("no HF_TOKEN in the environment: the hub takes uploads from a token with write access only")
    if not re.fullmatch(r"[!-~]+", token) or token[0] in "\"'":  # else the error about the header would show it
        raise ValueError(
            "what the environment has as HF_TOKEN is no token: it has quotes around it, or a space, a line break or a"
            " foreign letter in it; set it to the token alone"
        )
    api = HfApi(token=token)
    try:
        api.create_repo(repository, repo_type="dataset", private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repository,
            repo_type="dataset",
            folder_path=folder,
            delete_patterns="data/*.parquet",
            ignore_patterns=".*",
            commit_message="Export of a run of neuron-descriptions",
        )
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise PermissionError(
                f"the hub refuses an upload to {repository} (status {status}); HF_TOKEN must be a token that may write"
                " there, and exports.repository its owner's"
            ) from None
        raise
    written = (path for path in Path(folder).rglob("*") if path.is_file() and not path.name.startswith("."))
    files = sorted(path.relative_to(folder).as_posix() for path in written)
    logger.info("%d files to %s", len(files), repository)
    with whole(output) as part:
        said = {"repository": repository, "commit": commit.oid, "files": files}
        part.write_text(json.dumps(said, indent=1) + "\n")
