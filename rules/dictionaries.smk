# Features that others publish, converted once to the form that jobs read: only where the configuration names some.


if FROM_HUB:

    include: "hub_dictionaries.smk"


rule convert_dictionary:
    input:
        source=published_features,
    output:
        dictionary=DICTIONARY,
    log:
        "<logs>/convert_dictionary/{dictionary}/layer-{layer}.log",
    benchmark:
        "<benchmarks>/convert_dictionary/{dictionary}/layer-{layer}.tsv"
    conda:
        "../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=memory("convert_dictionary"),
        runtime=minutes("convert_dictionary"),
    params:
        code=digest("convert_dictionary.py"),
        features=tracked(CFG.features, exclude=DESCRIBED_BY),
        inside=lambda wildcards: CFG.features.place(wildcards.layer) if FROM_HUB else "",
        subject=subject_names(),
        content=lambda wildcards: features_content(wildcards.layer),
    message:
        "Converting features: layer {wildcards.layer}"
    script:
        "../scripts/convert_dictionary.py"
