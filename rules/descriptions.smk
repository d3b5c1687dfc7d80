# Candidate descriptions: the explainer reads train exemplars, per layer and chunk.


rule describe:
    input:
        corpus=CORPUS["train"],
        exemplars=part_table(TABLES["exemplars"]),
        statistics=part_table(TABLES["statistics"]),
        subject=model_folder(CFG.subject.model),
        explainer=model_folder(CFG.descriptions.explainer.model),
        prompt=project_file(CFG.descriptions.prompt, "descriptions.prompt"),
    output:
        descriptions=TABLES["descriptions"],
    log:
        "<logs>/describe/layer-{layer}/{part}.log",
    benchmark:
        "<benchmarks>/describe/layer-{layer}/{part}.tsv"
    conda:
        "../envs/models.yaml"
    threads: 4
    resources:
        mem_mb=16_000,
        runtime=240,
        gpu=1,
    params:
        code=digest("describe.py"),
        neurons=neurons_of_part,
        explainer=CFG.descriptions.explainer.model_dump(),
        settings=CFG.descriptions.model_dump(exclude={"explainer", "prompt"}),
        seed=CFG.seed,
    message:
        "Describing: layer {wildcards.layer}, {wildcards.part}"
    script:
        "../scripts/describe.py"
