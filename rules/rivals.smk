# Explainers that compete: candidates of earlier runs beside this run's own. Only where asked for.


rule gather_descriptions:
    input:
        own=part_table(WRITTEN),
        rivals=rival_tables,
    output:
        descriptions="<results>/descriptions/layer-{layer}/{part}.parquet",
    log:
        "<logs>/gather_descriptions/layer-{layer}/{part}.log",
    benchmark:
        "<benchmarks>/gather_descriptions/layer-{layer}/{part}.tsv"
    conda:
        "../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=memory("gather_descriptions"),
        runtime=minutes("gather_descriptions"),
    params:
        code=digest("gather_descriptions.py"),
        rivals=RIVALS,
        neurons=neurons_of_part(DESCRIBED),
    message:
        "Gathering candidates of rivals: layer {wildcards.layer}, {wildcards.part}"
    script:
        "../scripts/gather_descriptions.py"
