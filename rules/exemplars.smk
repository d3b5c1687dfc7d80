# Exemplars and statistics: all shards of all splits merged, per layer and chunk.


rule merge_exemplars:
    input:
        **CORPUS,
        train_shards=shards_of_part("train"),
        valid_shards=shards_of_part("valid"),
        test_shards=shards_of_part("test"),
    output:
        exemplars="<evidence>/exemplars/layer-{layer}/{part}.parquet",
        statistics="<evidence>/exemplars/layer-{layer}/statistics-{part}.parquet",
    log:
        "<logs>/merge_exemplars/layer-{layer}/{part}.log",
    benchmark:
        "<benchmarks>/merge_exemplars/layer-{layer}/{part}.tsv"
    conda:
        "../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=memory("merge_exemplars"),
        runtime=minutes("merge_exemplars"),
    params:
        **feature_params(lambda wildcards: [int(wildcards.layer)]),
        code=digest("merge_exemplars.py"),
        harvest=HARVEST["code"],
        subject=HARVEST["subject"],
        settings=HARVEST["settings"],
        seed=HARVEST["seed"],
        weights=HARVEST["weights"],
        neurons=neurons_of_part(KEPT),
        rows=lambda wildcards: LAYOUT.rows(int(wildcards.layer), wildcards.part),
    message:
        "Merging exemplars: layer {wildcards.layer}, {wildcards.part}"
    script:
        "../scripts/merge_exemplars.py"


if CFG.panel is not None:

    include: "panel.smk"
