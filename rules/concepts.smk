# Descriptions made of concepts: found by search, without a model; and how well their own predictions match.


# What lists are fitted on, where that is not the default.
FITTED = {
    key.removeprefix("concept_"): value
    for key, value in tracked(CFG.descriptions, include=["concept_fit"]).items()
    if key != "version"
}


rule find_concepts:
    input:
        **{split: CORPUS[split] for split in ("train", "valid")},
        **panel_of_layer("panel"),
        exemplars=evidence_tables(EVIDENCE["exemplars"]),
        subject=model_folder(CFG.subject.model),
        rules=concept_rules(),
    output:
        concepts="<results>/concepts/layer-{layer}/found-{part}.parquet",
    log:
        "<logs>/find_concepts/layer-{layer}/{part}.log",
    benchmark:
        "<benchmarks>/find_concepts/layer-{layer}/{part}.tsv"
    conda:
        "../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=memory("find_concepts"),
        runtime=minutes("find_concepts"),
    params:
        **FITTED,
        code=digest("find_concepts.py"),
        neurons=neurons_of_part(DESCRIBED),
        read=held(concept_rules()),
        weights=weights(CFG.subject.model),
    message:
        "Finding concepts: layer {wildcards.layer}, {wildcards.part}"
    script:
        "../scripts/find_concepts.py"


rule score_concepts:
    input:
        **CORPUS,
        **panel_of_layer("panel_test"),
        concepts="<results>/concepts/layer-{layer}/found-{part}.parquet",
        exemplars=evidence_tables(EVIDENCE["exemplars"]),
        statistics=evidence_tables(EVIDENCE["statistics"]),
        subject=model_folder(CFG.subject.model),
        rules=concept_rules(),
    output:
        concepts="<results>/concepts/layer-{layer}/{part}.parquet",
    log:
        "<logs>/score_concepts/layer-{layer}/{part}.log",
    benchmark:
        "<benchmarks>/score_concepts/layer-{layer}/{part}.tsv"
    conda:
        "../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=memory("score_concepts"),
        runtime=minutes("score_concepts"),
    params:
        code=digest("score_concepts.py"),
        neurons=neurons_of_part(DESCRIBED),
        numbers={
            name: getattr(CFG.scores, name) for name in ("top", "middle", "random")
        },
        read=held(concept_rules()),
        weights=weights(CFG.subject.model),
    message:
        "Scoring concepts by their own predictions: layer {wildcards.layer}, {wildcards.part}"
    script:
        "../scripts/score_concepts.py"
