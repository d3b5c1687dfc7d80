# What every neuron of a language model responds to, in plain words and with a score: see README.md.
from snakemake.utils import min_version

min_version("9.0")


include: "rules/origin.smk"


if not workflow.config_settings.configfiles:

    configfile: find("config/config.yaml", HOME) or "config/config.yaml"


include: "rules/common.smk"
include: "rules/resources.smk"
include: "rules/hooks.smk"


pathvars:
    results=f"results/{CFG.run}",
    evidence=f"results/{CFG.evidence or CFG.run}",
    logs=f"results/{CFG.run}/logs",
    benchmarks=f"results/{CFG.run}/benchmarks",


include: "rules/plan.smk"
include: "rules/models.smk"
include: "rules/features.smk"


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
include: "rules/exports.smk"
include: "rules/trained.smk"


rule all:
    default_target: True
    input:
        "<results>/atlas/atlas.parquet",
        "<results>/atlas/index.html",
        "<results>/atlas/scores.svg",
        "<results>/atlas/provenance.json",
        all_chunks("<results>/atlas/details/layer-{layer}/{part}"),
        ["<results>/first.html"] if CFG.atlas.first_page else [],
        CONCEPT_SCORES + TYPES + OUTPUT_SCORES + OUTPUT_ACCOUNTS,
        TEXT_ACCOUNTS + SEMANTIC_FILES,


report: "rules/report/workflow.rst"


onstart:
    check_what_would_run()
    record_what_outlived_a_killed_run()
    say_how_far_it_is()


onsuccess:
    say_what_came_out()


onerror:
    print("\nA job failed: its log says why. Run the same command again to go on.")
