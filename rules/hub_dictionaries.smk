# Features that others publish on the hub, fetched once: only where the configuration names some there.


rule fetch_dictionary:
    output:
        published=directory(PUBLISHED_DICTIONARY),
    log:
        "<logs>/fetch_dictionary/layer-{layer}.log",
    benchmark:
        "<benchmarks>/fetch_dictionary/layer-{layer}.tsv"
    conda:
        "../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=memory("fetch_dictionary"),
        runtime=minutes("fetch_dictionary"),
    params:
        code=digest("fetch_dictionary.py"),
        repo=CFG.features.repo,
        revision=CFG.features.revision,
        path=lambda wildcards: CFG.features.place(wildcards.layer),
    message:
        "Fetching features: layer {wildcards.layer}"
    script:
        "../scripts/fetch_dictionary.py"
