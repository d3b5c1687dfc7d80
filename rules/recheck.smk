# A recheck of the finished run, as a reviewer of an atlas would make it: `snakemake recheck`. Never part of `all`.

from neuron_descriptions.atlas.agreement import draw_neurons


localrules:
    recheck,


RECHECKED = draw_neurons(SELECTED, CFG.recheck.neurons, CFG.recheck.seed)
# Files of each layer, by name.
RECHECK_FILES = {
    "exemplars": (EVIDENCE["exemplars"], KEPT),
    "statistics": (EVIDENCE["statistics"], KEPT),
    "written": (WRITTEN, DESCRIBED),
    **{name: (path, DESCRIBED) for name, path in TABLES.items()},
}


def recheck_files():
    """Inputs by name and layer: the tables that hold the drawn neurons, and their corpus."""
    paths = dict(RECHECK_FILES)
    if IMPORTED:
        paths |= {split: (path, KEPT) for split, path in PART_CORPUS.items()}
    found = {
        f"{name}_{layer}": [
            path.format(layer=layer, part=part)
            for part in chunks.holding(layer, neurons)
        ]
        for layer, neurons in RECHECKED.items()
        for name, (path, chunks) in paths.items()
    }
    if not IMPORTED:
        found |= {
            f"{split}_{layer}": path
            for layer in RECHECKED
            for split, path in CORPUS.items()
        }
    return found


rule recheck_rows:
    input:
        **recheck_files(),
        **concept_rules(),
        **simulator_prompt(),
        atlas="<results>/atlas/atlas.parquet",
        subject=model_folder(CFG.subject.model),
        simulator=model_folder(CFG.scores.simulator.model),
        explainer_prompt=explainer_prompt(),
        nulls=project_file(CFG.scores.null_descriptions, "scores.null_descriptions"),
    output:
        json="<results>/recheck.json",
        text="<results>/recheck.txt",
    log:
        "<logs>/recheck_rows.log",
    benchmark:
        "<benchmarks>/recheck_rows.tsv"
    conda:
        "../envs/models.yaml"
    threads: 4
    resources:
        mem_mb=memory("score"),
        runtime=minutes("recheck_rows"),
        gpu=max(gpus("harvest"), gpus("score")),
        gpu_job=1,
    params:
        code=digest("recheck_rows.py"),
        neurons=RECHECKED,
        names=[*RECHECK_FILES, *SPLITS],
        subject={
            "n_layers": CFG.subject.layers,
            "n_neurons": CFG.subject.neurons_per_layer,
            "module": CFG.subject.module,
            "dtype": CFG.subject.dtype,
            "device_map": CFG.subject.device_map,
        },
        describing={
            "settings": DESCRIBING,
            "explainer": tracked(EXPLAINER, exclude=ACCESS_KEYS),
            "seed": CFG.seed,
            "begins": EXPLAINER_MODEL is not None,
        },
        scoring={
            "settings": SCORING,
            "simulator": tracked(CFG.scores.simulator, exclude=["prompt"]),
            "seed": CFG.seed,
        },
        about={"run": CFG.run, "seed": CFG.recheck.seed},
        weights=weights(CFG.subject.model, CFG.scores.simulator.model),
    message:
        "Computing rows again"
    script:
        "../scripts/recheck_rows.py"


# Apart, so that what was found is kept where this one fails.
rule recheck:
    input:
        recheck="<results>/recheck.json",
    output:
        passed="<results>/recheck-passed.txt",
    log:
        "<logs>/recheck.log",
    benchmark:
        "<benchmarks>/recheck.tsv"
    conda:
        "../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=memory("recheck"),
        runtime=minutes("recheck"),
    params:
        code=digest("recheck.py"),
    message:
        "Rechecking the run"
    script:
        "../scripts/recheck.py"
