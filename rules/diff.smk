# The run's features beside those of another model, or of another run, on this run's panel: `snakemake diff`. Never part
# of `all`.


include: "common/diff.smk"


rule harvest_other:
    input:
        model=other_model,
        corpus=COMPARED_TEXT,
        dictionaries=converted_features(lambda wildcards: KEPT.neurons),
    output:
        acts=[OTHER_ACTS.format(layer=layer) for layer in KEPT.neurons],
    log:
        "<logs>/harvest_other.log",
    benchmark:
        "<benchmarks>/harvest_other.tsv"
    conda:
        "../envs/models.yaml"
    threads: 4
    resources:
        mem_mb=memory("harvest_other"),
        runtime=minutes("harvest_other"),
        gpu=gpus("harvest_other"),
        gpu_job=1,
    params:
        **feature_params(lambda wildcards: KEPT.neurons),
        code=digest("harvest_other.py", without=OTHER_SOURCES),
        subject=ARCHITECTURE,
        batch_size=getattr(CFG.exemplars, "batch_size", None),
        seed=CFG.seed,
        device_map=CFG.subject.device_map,
        neurons=KEPT.neurons,
        weights=lambda wildcards: weights(CFG.diff.model),
        layers_per_pass=untracked(getattr(CFG.exemplars, "layers_per_job", None)),
    message:
        "Harvesting another model's activations on the panel"
    script:
        "../scripts/harvest_other.py"


rule diff:
    input:
        before=COMPARED_TEXT,
        after=other_text,
        acts_before=[COMPARED_ACTS.format(layer=layer) for layer in KEPT.neurons],
        acts_after=other_acts,
        subject=model_folder(CFG.subject.model),
    output:
        table="<results>/diff/differences.parquet",
        neurons="<results>/diff/neurons.csv",
        anew="<results>/diff/describe.yaml",
        report="<results>/diff/report.md",
    log:
        "<logs>/diff.log",
    benchmark:
        "<benchmarks>/diff.tsv"
    conda:
        "../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=memory("diff"),
        runtime=minutes("diff"),
    params:
        code=digest("diff.py"),
        names={"before": CFG.run, "after": OTHER},
        layers=list(KEPT.neurons),
        listed=CFG.diff.features if CFG.diff else None,
        describing=DESCRIBING_CHANGES,
        weights=weights(CFG.subject.model),
    message:
        "Comparing the run's features with another's"
    script:
        "../scripts/diff.py"
