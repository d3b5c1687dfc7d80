# Published exemplars instead of a harvest: the same tables, and the sequences that they stand in, per layer and chunk.


rule list_exemplars:
    input:
        subject=model_folder(CFG.subject.model),
    output:
        listing="<evidence>/exemplars/layer-{layer}/published.json",
    log:
        "<logs>/list_exemplars/layer-{layer}.log",
    benchmark:
        "<benchmarks>/list_exemplars/layer-{layer}.tsv"
    conda:
        "../envs/s3.yaml"
    threads: 1
    resources:
        mem_mb=memory("list_exemplars"),
        runtime=minutes("list_exemplars"),
    params:
        code=digest("list_exemplars.py"),
        place=exemplars_place(),
        settings={
            "n_neurons": CFG.subject.neurons_per_layer,
            "model": getattr(CFG.models[CFG.subject.model], "repo", None),
            "k": CFG.exemplars.k,
            "n_random": CFG.exemplars.random,
            "seq_len": CFG.exemplars.seq_len,
            "pad_id": CFG.exemplars.pad_id,
        },
        weights=weights(CFG.subject.model),
    message:
        "Listing published exemplars: layer {wildcards.layer}"
    script:
        "../scripts/list_exemplars.py"


rule import_exemplars:
    input:
        listing="<evidence>/exemplars/layer-{layer}/published.json",
    output:
        train="<evidence>/corpus/layer-{layer}/train-{part}.parquet",
        valid="<evidence>/corpus/layer-{layer}/valid-{part}.parquet",
        test="<evidence>/corpus/layer-{layer}/test-{part}.parquet",
        exemplars="<evidence>/exemplars/layer-{layer}/{part}.parquet",
        statistics="<evidence>/exemplars/layer-{layer}/statistics-{part}.parquet",
    log:
        "<logs>/import_exemplars/layer-{layer}/{part}.log",
    benchmark:
        "<benchmarks>/import_exemplars/layer-{layer}/{part}.tsv"
    conda:
        "../envs/s3.yaml"
    threads: 1
    resources:
        mem_mb=memory("import_exemplars"),
        runtime=minutes("import_exemplars"),
    params:
        code=digest("import_exemplars.py"),
        place=exemplars_place(),
        neurons=neurons_of_part(KEPT),
    message:
        "Importing exemplars: layer {wildcards.layer}, {wildcards.part}"
    script:
        "../scripts/import_exemplars.py"
