# Without a simulator: which candidate describes each feature, by what the run has.


rule choose_descriptions:
    input:
        **CORPUS,
        **choice_inputs(),
        exemplars=evidence_tables(EVIDENCE["exemplars"]),
        statistics=evidence_tables(EVIDENCE["statistics"]),
        descriptions=part_table(TABLES["descriptions"]),
        nulls=project_file(CFG.scores.null_descriptions, "scores.null_descriptions"),
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
        weights=weights(CFG.subject.model),
    message:
        "Choosing descriptions: layer {wildcards.layer}, {wildcards.part}"
    script:
        "../scripts/choose_descriptions.py"
