# Features that others publish, converted once to the form that jobs read: only where the configuration names some.


rule convert_dictionary:
    input:
        source=lambda wildcards: ancient(local(features_file(wildcards.layer))),
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
        features=tracked(CFG.features),
        subject=subject_names(),
        content=lambda wildcards: features_content(wildcards.layer),
    message:
        "Converting features: layer {wildcards.layer}"
    script:
        "../scripts/convert_dictionary.py"
