# Descriptions from elsewhere, scored as the run's own are: only where asked for.


if ASKS_SIMULATOR:

    localrules:
        score_given,


rule read_descriptions:
    output:
        descriptions="<results>/given/layer-{layer}/descriptions.parquet",
    log:
        "<logs>/read_descriptions/layer-{layer}.log",
    benchmark:
        "<benchmarks>/read_descriptions/layer-{layer}.tsv"
    conda:
        "../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=memory("read_descriptions"),
        runtime=minutes("read_descriptions"),
    params:
        code=digest("read_descriptions.py"),
        given=lambda wildcards: GIVEN.get(int(wildcards.layer), []),
        source=CFG.scores.descriptions,
    message:
        "Reading descriptions from elsewhere: layer {wildcards.layer}"
    script:
        "../scripts/read_descriptions.py"


use rule score as score_given with:
    input:
        **GIVEN_CORPUS,
        **simulator_prompt(),
        exemplars=given_tables(EVIDENCE["exemplars"]),
        statistics=given_tables(EVIDENCE["statistics"]),
        descriptions="<results>/given/layer-{layer}/descriptions.parquet",
        pool=null_pool,
        probe=probed,
        nulls=NULL_DESCRIPTIONS,
        subject=model_folder(CFG.subject.model),
        simulator=simulator_folder(),
    output:
        scores="<results>/given/layer-{layer}/scores.parquet",
        simulations="<results>/given/layer-{layer}/simulations.parquet",
    log:
        "<logs>/score_given/layer-{layer}.log",
    benchmark:
        "<benchmarks>/score_given/layer-{layer}.tsv"
    params:
        code=digest("score.py", without=NOT_SIMULATED_WITH),
        neurons=given_neurons,
        simulator=of_simulator(),
        settings=SCORING,
        every=True,
        seed=CFG.seed,
        read=held(NULL_DESCRIPTIONS, simulator_prompt()),
        weights=simulator_weights(),
        kept=kept_predictions("given/layer-{layer}"),
    message:
        "Scoring descriptions from elsewhere: layer {wildcards.layer}"


rule write_given_scores:
    input:
        scores=given_scores,
    output:
        scores="<results>/given/scores.csv",
    log:
        "<logs>/write_given_scores.log",
    benchmark:
        "<benchmarks>/write_given_scores.tsv"
    conda:
        "../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=memory("write_given_scores"),
        runtime=minutes("write_given_scores"),
    params:
        code=digest("write_given_scores.py"),
    message:
        "Writing the scores of descriptions from elsewhere"
    script:
        "../scripts/write_given_scores.py"
