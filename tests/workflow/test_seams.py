"""Something new of one's own takes three files at most: what is written here is all that is written."""

import json
import os
import subprocess
import sys
from pathlib import Path

from conftest import Project, changed, tiny_config

SECTION = '''
class CountingExplainer(Endpoint):
    """Counts words; asks nobody."""

    client: Literal["counting"]
    """`counting`: the longest words of the prompt."""
    model: str = "counting"
    """Its name in the tables."""
    words: PositiveInt = 2
    """How many words it names."""


def _default_client'''

CLIENT = '''"""A client that asks nobody: the longest words of a prompt."""

from neuron_descriptions.clients.base import Answer, Done, Request


class CountingClient:
    """Answers with words of the prompt."""

    begins = True
    keeps = False

    def __init__(self, words: int):
        self.words = words

    def payloads(self, requests: list[Request]) -> list[dict]:
        return [{"words": self.words, "prompt": request.prompt.sha256()} for request in requests]

    def answer(self, requests: list[Request], done: Done) -> None:
        for number, request in enumerate(requests):
            words = request.prompt.messages[-1]["content"].split()
            said = ", ".join(sorted(set(words), key=lambda word: (-len(word), word))[: self.words])
            done({number: Answer(said, len(words), self.words, finished=True)})
'''

ENTRY = """@contextmanager
def _counting(job: Job) -> Iterator[Client]:
    from neuron_descriptions.clients.counting import CountingClient

    yield CountingClient(job.explainer.words)


# The key `client` of the section -> how it is opened."""

# What a job does with it: from the configuration to answers.
ASK = """
import json, sys, yaml
from neuron_descriptions.clients.base import Prompt, Request
from neuron_descriptions.clients.opening import CLIENTS, Job, open_client
from neuron_descriptions.config.base import restored, tracked
from neuron_descriptions.config.explainers import Explainer, clients
from neuron_descriptions.config.sections import load_config

assert set(CLIENTS) == set(clients())
section = restored(Explainer, tracked(load_config(yaml.safe_load(open(sys.argv[1]))).descriptions.explainer))
job = Job(section, None, (), 1.0, 20, "requests", "layer-0/chunk-0", 1)
prompts = ["an elephant in the room", "one more"]
requests = [Request(Prompt([{"role": "user", "content": text}]), 0, n) for n, text in enumerate(prompts)]
with open_client(job) as client:
    client.answer(requests, lambda answers: print(json.dumps({n: a.text for n, a in answers.items()})))
"""


def insert(path: Path, **texts: str) -> None:
    """Replace what stands once in a file; texts: the name of a mark below -> what stands there then."""
    text = path.read_text()
    for mark, new in texts.items():
        assert text.count(MARKS[mark]) == 1, MARKS[mark]
        text = text.replace(MARKS[mark], new)
    path.write_text(text)


MARKS = {
    "before_union": "\ndef _default_client",
    "union": "OpenaiExplainer | AnthropicExplainer",
    "before_list": "# The key `client` of the section -> how it is opened.",
    "list": '    "anthropic": _anthropic,\n',
    "kinds": 'Literal["prompted", "finetuned", "asked"]',
    "kind_list": "# The key `kind` of the section -> how it is made.",
    "kind_entry": '    "finetuned": _finetuned,\n',
    "scorer_union": "Fuzzing | Generated | SimulatedDetection | SimulatedFuzzing",
    "before_scorers": "# Every scorer: to add one",
    "before_scorer_list": "# The key `kind` of the section -> its class.",
    "scorer_list": '    "simulated_fuzzing": _simulated_fuzzing,\n',
    "before_features": "\ndef _kind(features",
    "features_union": '    | Annotated[HeadFeatures, Tag("attention_heads")],\n',
    "before_sources": "# The key `kind` of the section -> how it is opened.",
    "source_entry": '    "attention_heads": _attention_heads,\n',
}


def test_a_client_is_a_section_a_class_and_an_entry(tmp_path):
    project = Project(tmp_path / "toy")
    before = {path: path.read_bytes() for path in project.folder.rglob("*") if path.is_file()}
    library = project.folder / "scripts/neuron_descriptions"
    union = MARKS["union"] + " | CountingExplainer"
    insert(library / "config/explainers.py", before_union=SECTION, union=union)
    (library / "clients/counting.py").write_text(CLIENT)
    insert(library / "clients/opening.py", before_list=ENTRY, list=MARKS["list"] + '    "counting": _counting,\n')
    touched = [p for p in project.folder.rglob("*.py") if before.get(p) != p.read_bytes()]
    assert len(touched) == 3

    explainer = {"client": "counting", "words": 1}
    config = changed(tiny_config(), descriptions__explainer=explainer, descriptions__prompt="config/prompts/short.yaml")
    planned = project.planned(config)
    assert planned["describe"] == 2  # chunks of the run
    environment = os.environ | {"PYTHONPATH": str(project.folder / "scripts")}
    done = subprocess.run(
        [sys.executable, "-c", ASK, project.folder / "run.yaml"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert [json.loads(line) for line in done.stdout.splitlines()] == [{"0": "elephant"}, {"1": "more"}]

    assert "words: unknown key" in refused(project, changed(config, descriptions__explainer__client="openai"))


SIMULATOR = '''"""A simulator without a model: a token fires if the description names it."""

from neuron_descriptions.models.loading import token_strings
from neuron_descriptions.simulators.simulating import Task


class NamingSimulator:
    """10 on the tokens that a description names, 0 elsewhere."""

    def __init__(self, tokenizer):
        self.tokenizer, self.tokens = tokenizer, 0

    def simulate(self, tasks: list[Task]) -> list[list[float]]:
        found = []
        for task in tasks:
            texts = [text.strip() for text in token_strings(self.tokenizer, task.text.evidence)]
            found.append([10.0 * (text in task.description.split()) for text in texts])
        return found
'''

# What a job does with it: from the configuration to predictions.
SIMULATE = """
import json, sys, yaml
from neuron_descriptions.config.base import restored, tracked
from neuron_descriptions.config.scores import Simulator
from neuron_descriptions.config.sections import load_config
from neuron_descriptions.corpus.reading import Text
from neuron_descriptions.models.loading import load_tokenizer
from neuron_descriptions.simulators.opening import Job, load_simulator
from neuron_descriptions.simulators.simulating import Task

section = restored(Simulator, tracked(load_config(yaml.safe_load(open(sys.argv[1]))).scores.simulator))
simulator = load_simulator(Job(section, sys.argv[2], None, sys.argv[2], 1))
ids = load_tokenizer(sys.argv[2])(" the moon and the sun")["input_ids"]
print(json.dumps(simulator.simulate([Task("names the moon", Text("", ids, 0)), Task("none", Text("", ids, 1))])))
"""

NAMING = """def _naming(job: Job) -> Simulator:
    from neuron_descriptions.simulators.naming import NamingSimulator

    return NamingSimulator(load_tokenizer(job.subject_folder))


# The key `kind` of the section -> how it is made."""


def test_a_simulator_is_a_kind_a_class_and_an_entry(tmp_path, smollm2):
    project = Project(tmp_path / "toy")
    before = {path: path.read_bytes() for path in project.folder.rglob("*") if path.is_file()}
    library = project.folder / "scripts/neuron_descriptions"
    insert(library / "config/scores.py", kinds='Literal["prompted", "finetuned", "asked", "naming"]')
    (library / "simulators/naming.py").write_text(SIMULATOR)
    insert(
        library / "simulators/opening.py", kind_list=NAMING, kind_entry=MARKS["kind_entry"] + '    "naming": _naming,\n'
    )
    assert len([p for p in project.folder.rglob("*.py") if before.get(p) != p.read_bytes()]) == 3

    config = changed(tiny_config(), scores__simulator__kind="naming")
    assert project.planned(config)["score"] == 2
    environment = os.environ | {"PYTHONPATH": str(project.folder / "scripts")}
    done = subprocess.run(
        [sys.executable, "-c", SIMULATE, project.folder / "run.yaml", smollm2],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[10.0, 10.0, 0.0, 10.0, 0.0], [0.0] * 4]


LENGTH_SECTION = '''class Length(Section):
    """The length of a description."""

    kind: Literal["length"]
    """`length`: longer is worse."""
    most: PositiveInt = 60
    """Characters of a description that scores 0."""


# Every scorer: to add one'''

LENGTH_SCORER = '''"""Scores descriptions by their length."""

from contextlib import contextmanager

import pyarrow as pa

from neuron_descriptions.scores.columns import Column


class LengthScorer:
    """1 for an empty description, 0 from `most` characters on."""

    columns = (Column("brevity", pa.float64(), "brevity", "How short the description is, from 0 to 1."),)
    details = (("characters", pa.int32()),)

    def __init__(self, most):
        self.most = most

    @classmethod
    @contextmanager
    def open(cls, job):
        yield cls(job.section.most)

    def score(self, described):
        best = min(described.candidates, key=lambda row: len(row["description"]))
        length = len(best["description"])
        brevity = max(0.0, 1 - length / self.most)
        return {"candidate": best["candidate"], "status": "ok", "brevity": brevity, "characters": length}
'''

LENGTH_ENTRY = """def _length() -> type[Scorer]:
    from neuron_descriptions.scores.length import LengthScorer

    return LengthScorer


# The key `kind` of the section -> its class."""

# What a job does with it: from the configuration to the atlas and its page's legend.
SCORE = """
import json, sys, yaml
import pyarrow as pa
from neuron_descriptions.atlas.building import build_atlas
from neuron_descriptions.atlas.further import read_atlas
from neuron_descriptions.common.storage import write_table
from neuron_descriptions.config.base import restored, tracked
from neuron_descriptions.config.scorers import Scorer
from neuron_descriptions.config.sections import load_config
from neuron_descriptions.descriptions.tables import DESCRIPTIONS
from neuron_descriptions.harvest.tables import STATISTICS
from neuron_descriptions.scores.opening import Job, documentation, run_scorer
from neuron_descriptions.scores.tables import SCORES

section = restored(Scorer, tracked(load_config(yaml.safe_load(open(sys.argv[1]))).scores.scorers["short"]))
who = {"layer": 1, "neuron": 5}
rows = [{**who, "sign": "positive", "candidate": n, "description": text, "status": "ok", "explainer": "x"}
        for n, text in enumerate(("twelve chars", "six ch"))]
rows.append({**who, "sign": "negative", "candidate": 0, "status": "unparsed", "explainer": "x"})
write_table(pa.Table.from_pylist(rows, schema=DESCRIPTIONS), "d.parquet")
write_table(SCORES.empty_table(), "s.parquet")
write_table(pa.Table.from_pylist([{"split": "train", **who, "min": -1.0, "max": 1.0}], schema=STATISTICS), "t.parquet")
run_scorer(Job("short", section, None, [5], 1, {"descriptions": "d.parquet"}, "requests", "", "", 0, 1), "l.parquet")
tables = {"descriptions": "d", "scores": "s", "statistics": "t", "scorers": "l"}
build_atlas({name: [f"{one}.parquet"] for name, one in tables.items()}, "a.parquet")
atlas, added = read_atlas("a.parquet")
print(json.dumps({
    "rows": atlas.select(["sign", "short_status", "short_brevity"]).to_pylist(),
    "legend": [[c.name, c.heading, c.words] for c in added], "docs": "## `length`" in documentation(),
}))
"""


def test_a_scorer_is_a_section_a_class_and_an_entry(tmp_path):
    project = Project(tmp_path / "toy")
    before = {path: path.read_bytes() for path in project.folder.rglob("*") if path.is_file()}
    library = project.folder / "scripts/neuron_descriptions"
    union = MARKS["scorer_union"] + " | Length"
    insert(library / "config/scorers.py", before_scorers=LENGTH_SECTION, scorer_union=union)
    (library / "scores/length.py").write_text(LENGTH_SCORER)
    entry = MARKS["scorer_list"] + '    "length": _length,\n'
    insert(library / "scores/opening.py", before_scorer_list=LENGTH_ENTRY, scorer_list=entry)
    assert len([p for p in project.folder.rglob("*.py") if before.get(p) != p.read_bytes()]) == 3

    config = changed(tiny_config(), scores__scorers={"short": {"kind": "length", "most": 24}})
    assert project.planned(config)["run_scorer"] == 2
    done = subprocess.run(
        [sys.executable, "-c", SCORE, project.folder / "run.yaml"],
        env=os.environ | {"PYTHONPATH": str(project.folder / "scripts")},
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["rows"] == [
        {"sign": "positive", "short_status": "ok", "short_brevity": 0.75},
        {"sign": "negative", "short_status": "no_description", "short_brevity": None},
    ]
    assert found["legend"][1] == ["short_brevity", "short: brevity", "How short the description is, from 0 to 1."]
    assert found["docs"]


FEATURE_SECTION = '''
class ShareFeatures(Section):
    """What share of the residual stream's size each of its first numbers has."""

    kind: Literal["shares"]
    """`shares`."""
    count: PositiveInt
    """How many of its numbers."""

    one_sided: ClassVar[bool] = True
    noun: ClassVar[str] = "share"


def _kind(features'''

FEATURE_SOURCE = '''"""Shares of the residual stream."""

from neuron_descriptions.features.hooks import find_taps


class Shares:
    """|x_i| over the norm of x."""

    one_sided = True

    def __init__(self, count, n_layers, n_neurons):
        self.count, self.subject = count, (n_layers, n_neurons)

    def taps(self, model):
        return find_taps(model, *self.subject, "residual_out")

    def features(self, layer, seen_BTD):
        return seen_BTD[..., : self.count].abs() / seen_BTD.norm(dim=-1, keepdim=True)
'''

SHARES = """def _shares(job: SourceJob) -> FeatureSource:
    from neuron_descriptions.features.shares import Shares

    return Shares(job.settings.count, job.n_layers, job.n_neurons)


# The key `kind` of the section -> how it is opened."""

# What a job does with it: from the configuration to features.
FEATURES = """
import sys, torch, yaml
from transformers import LlamaConfig, LlamaModel
from neuron_descriptions.config.base import restored, tracked
from neuron_descriptions.config.features import Features
from neuron_descriptions.config.sections import load_config
from neuron_descriptions.features.opening import SourceJob, open_source

config = load_config(yaml.safe_load(open(sys.argv[1])))
section = restored(Features, tracked(config.features))
shape = dict(hidden_size=8, intermediate_size=12, num_hidden_layers=2, num_attention_heads=2, vocab_size=9)
model = LlamaModel(LlamaConfig(**shape))
source = open_source(SourceJob(section, 2, 12))
print(config.features_per_layer, len(source.taps(model)), source.features(0, torch.ones(1, 1, 4)).tolist())
"""


def test_a_source_of_features_is_a_section_a_class_and_an_entry(tmp_path):
    project = Project(tmp_path / "toy")
    before = {path: path.read_bytes() for path in project.folder.rglob("*") if path.is_file()}
    library = project.folder / "scripts/neuron_descriptions"
    union = MARKS["features_union"].removesuffix(",\n") + '\n    | Annotated[ShareFeatures, Tag("shares")],\n'
    insert(library / "config/features.py", before_features=FEATURE_SECTION, features_union=union)
    (library / "features/shares.py").write_text(FEATURE_SOURCE)
    entry = MARKS["source_entry"] + '    "shares": _shares,\n'
    insert(library / "features/opening.py", before_sources=SHARES, source_entry=entry)
    assert len([p for p in project.folder.rglob("*.py") if before.get(p) != p.read_bytes()]) == 3

    neurons = {"layers": [1, 3], "indices": [0, 2], "chunk_size": 2}
    config = changed(tiny_config(), neurons=neurons, features={"kind": "shares", "count": 3})
    assert project.planned(config)["harvest"] == 3  # a split each
    environment = os.environ | {"PYTHONPATH": str(project.folder / "scripts")}
    done = subprocess.run(
        [sys.executable, "-c", FEATURES, project.folder / "run.yaml"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "3 2 [[[0.5, 0.5, 0.5]]]"
    said = refused(project, changed(config, neurons__indices=[3]))
    assert "neurons.indices: 3 is out of range; the subject has neurons 0..2 in a layer" in said


def refused(project: Project, config: dict) -> str:
    """What is said to a configuration that is not valid."""
    done = project.run(config, "-n", check=False)
    assert done.returncode != 0
    return done.stdout + done.stderr
