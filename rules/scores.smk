# Scores: the simulator predicts activations from each description, per layer and chunk.


rule pool_nulls:
    input:
        descriptions=null_tables,
    output:
        pool=NULL_POOL,
    log:
        "<logs>/pool_nulls.log",
    benchmark:
        "<benchmarks>/pool_nulls.tsv"
    conda:
        "../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=2_000,
        runtime=30,
    params:
        code=digest("pool_nulls.py"),
        neurons=lambda wildcards: null_neurons(),
    message:
        "Gathering descriptions for the nulls"
    script:
        "../scripts/pool_nulls.py"


rule score:
    input:
        **CORPUS,
        **simulator_prompt(),
        exemplars=part_table(TABLES["exemplars"]),
        statistics=part_table(TABLES["statistics"]),
        descriptions=part_table(TABLES["descriptions"]),
        pool=null_pool,
        nulls=project_file(CFG.scores.null_descriptions, "scores.null_descriptions"),
        subject=model_folder(CFG.subject.model),
        simulator=model_folder(CFG.scores.simulator.model),
    output:
        scores=TABLES["scores"],
        simulations=TABLES["simulations"],
    log:
        "<logs>/score/layer-{layer}/{part}.log",
    benchmark:
        "<benchmarks>/score/layer-{layer}/{part}.tsv"
    conda:
        "../envs/models.yaml"
    threads: 4
    resources:
        mem_mb=16_000,
        runtime=240,
        gpu=1,
    params:
        code=digest("score.py"),
        neurons=neurons_of_part,
        simulator=CFG.scores.simulator.model_dump(exclude={"prompt"}),
        settings=CFG.scores.model_dump(exclude={"simulator", "null_neurons", "null_descriptions"}),
        seed=CFG.seed,
    message:
        "Scoring: layer {wildcards.layer}, {wildcards.part}"
    script:
        "../scripts/score.py"
