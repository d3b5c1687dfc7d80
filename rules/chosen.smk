# Without a simulator: which candidate describes each feature, by what the run has.


rule choose_descriptions:
    input:
        **CORPUS,
        **choice_inputs(),
        exemplars=evidence_tables(EVIDENCE["exemplars"]),
        statistics=evidence_tables(EVIDENCE["statistics"]),
        descriptions=part_table(TABLES["descriptions"]),
        nulls=NULL_DESCRIPTIONS,
        subject=model_folder(CFG.subject.model),
    output:
        scores="<results>/scores/layer-{layer}/{part}.parquet",
    log:
        "<logs>/choose_descriptions/layer-{layer}/{part}.log",
    benchmark:
        "<benchmarks>/choose_descriptions/layer-{layer}/{part}.tsv"
    conda:
        "../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=memory("choose_descriptions"),
        runtime=minutes("choose_descriptions"),
    params:
        code=digest("choose_descriptions.py"),
        neurons=neurons_of_part(DESCRIBED),
        choice=CFG.choice,
        settings=SCORING,
        seed=CFG.seed,
        read=held(NULL_DESCRIPTIONS, choice_inputs()),
        weights=weights(CFG.subject.model),
    message:
        "Choosing descriptions: layer {wildcards.layer}, {wildcards.part}"
    script:
        "../scripts/choose_descriptions.py"
