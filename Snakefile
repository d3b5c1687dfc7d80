# What every neuron of a language model responds to, in plain words and with a score: see README.md.
from snakemake.utils import min_version

min_version("9.0")


include: "rules/origin.smk"


if not workflow.config_settings.configfiles:

    configfile: find("config/config.yaml", HOME) or "config/config.yaml"


include: "rules/common.smk"
include: "rules/hooks.smk"


pathvars:
    results=f"results/{CFG.run}",
    evidence=f"results/{CFG.evidence or CFG.run}",
    logs=f"results/{CFG.run}/logs",
    benchmarks=f"results/{CFG.run}/benchmarks",


include: "rules/plan.smk"
include: "rules/models.smk"


if IMPORTED:

    include: "rules/imports.smk"

else:

    include: "rules/corpus.smk"
    include: "rules/activations.smk"
    include: "rules/exemplars.smk"


include: "rules/descriptions.smk"
include: "rules/scores.smk"
include: "rules/atlas.smk"
include: "rules/publishing.smk"


if CFG.training is not None:

    include: "rules/training.smk"


rule all:
    default_target: True
    input:
        "<results>/atlas/atlas.parquet",
        "<results>/atlas/index.html",
        "<results>/atlas/scores.svg",
        "<results>/atlas/provenance.json",
        all_chunks("<results>/atlas/details/layer-{layer}/{part}.js"),
        CONCEPT_SCORES + TYPES,


report: "rules/report/workflow.rst"


onstart:
    stop_above_a_ceiling()
    spare_the_evidence_of_other_runs()
    record_what_outlived_a_killed_run()


onsuccess:
    say_what_came_out()


onerror:
    print("\nA job failed: its message stands above, its log has the details.")
    print(
        "After mending the cause, run the same command again: finished work is kept."
    )
