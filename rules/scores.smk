# Scores: by a simulator, or a choice among candidates where there is none; and further scorers.


include: "common/scores.smk"


rule pool_nulls:
    input:
        descriptions=null_tables(TABLES["descriptions"]),
        exemplars=null_tables(EVIDENCE["exemplars"], KEPT),
        train=null_texts(),
        subject=model_folder(CFG.subject.model),
    output:
        pool="<results>/descriptions/null-pool.parquet",
    log:
        "<logs>/pool_nulls.log",
    benchmark:
        "<benchmarks>/pool_nulls.tsv"
    conda:
        "../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=memory("pool_nulls"),
        runtime=minutes("pool_nulls"),
    params:
        code=digest("pool_nulls.py"),
        neurons=lambda wildcards: null_neurons(),
        weights=weights(CFG.subject.model),
    message:
        "Gathering descriptions for the nulls"
    script:
        "../scripts/pool_nulls.py"


if SIMULATED:

    include: "simulated.smk"

else:

    include: "chosen.smk"


if CFG.scores.screen is not None:

    include: "screen.smk"


include: "common/natural.smk"


if HAS_NATURAL:

    include: "natural.smk"


include: "common/given.smk"
include: "common/scorers.smk"


if SIMULATED:

    include: "given.smk"


include: "common/generated.smk"


if SCORERS:

    include: "scorers.smk"


if GENERATING:

    include: "generated.smk"
