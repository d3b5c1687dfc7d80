# The configuration, wildcards, and functions that say which files belong together. No rules.
from neuron_descriptions.common.parents import VARIABLE
from neuron_descriptions.common.provenance import digest
from neuron_descriptions.common.user_files import read_yaml
from neuron_descriptions.common.vocabulary import SPLITS
from neuron_descriptions.config.base import names_as_typed, tracked
from neuron_descriptions.config.corpus import origins
from neuron_descriptions.config.sections import load_config
from neuron_descriptions.run.costs import make_plan
from neuron_descriptions.run.files import Layout, part_holding
from neuron_descriptions.run.fingerprints import yaml_fingerprint
from neuron_descriptions.run.selection import check_plan, described_and_kept
from snakemake.io import sourcecache_entry

try:
    if workflow.modifier.is_main_snakefile():  # what Snakemake's own reader passes over
        for path in workflow.configfiles:
            read_yaml(str(path))
    names_as_typed(config, workflow.config_settings.config_args)
    CFG = load_config(config)
    DESCRIBED, KEPT = described_and_kept(CFG, HOME)
    check_plan(CFG, KEPT.neurons)
except ValueError as error:
    raise WorkflowError(str(error)) from None

LAYOUT = Layout(CFG, DESCRIBED, KEPT)
SELECTED = DESCRIBED.neurons  # layer -> neurons
os.environ[VARIABLE] = str(os.getpid())  # jobs end with it
# While jobs are planned, `workflow.pathvars` is the importing workflow's.
PATHVARS = workflow.pathvars


wildcard_constraints:
    split="|".join(SPLITS),
    shard=r"\d+",
    block=r"block-\d+|layer-\d+-neuron-\d+",
    layer=r"\d+",
    part=r"chunk-\d+|neuron-\d+",
    neuron=r"\d+",


HELD = {}  # user's YAML files -> what they hold


def held_by(file, key):
    """Fingerprint of what a YAML file holds, in whatever words and order. Raises WorkflowError where it cannot be read."""
    try:
        return yaml_fingerprint(file, key)
    except (OSError, ValueError) as error:
        raise WorkflowError(str(error)) from None


def held(*files):
    """What these files, or those of mappings of inputs, hold: for the params of every rule that reads them."""
    named = [
        f
        for item in files
        for f in (item.values() if isinstance(item, dict) else [item])
    ]
    return [HELD[file] for file in map(str, filter(None, named)) if file in HELD]


def project_file(path, key):
    """A file named in the config: in the working directory, else beside the Snakefile."""
    try:
        file = found(path, key, HOME)
    except ValueError as error:
        raise WorkflowError(str(error)) from None
    if isinstance(RULES, LocalSourceFile):
        kept = local(file)  # stays here where results go to a storage
        if file.endswith((".yaml", ".yml")):
            HELD[file] = held_by(file, key)
            return ancient(kept)  # its time says nothing: `held` says what it holds
        return kept
    # Of a hosted repository: recorded by its name there, since the copy's place says nothing.
    return sourcecache_entry(file, path) if find(path) is None else local(file)


def untracked(value):
    """A param that reruns nothing when it changes: Snakemake does not compare what is made from `threads`."""
    return lambda wildcards, threads: value


include: "common/parts.smk"
include: "common/places.smk"
