# Scores: the simulator predicts activations from each description, per layer and chunk.

SCORE_SETTINGS = CFG.scores.model_dump(
    exclude={
        "simulator",
        "probe",
        "null_neurons",
        "null_descriptions",
        "descriptions",
    }
)


if CFG.scores.probe == "off":

    localrules:
        probe,


rule probe:
    input:
        **simulator_prompt(),
        corpus=FACTS["valid"],
        rules=project_file(CFG.descriptions.concept_rules, "descriptions.concept_rules"),
        subject=model_folder(CFG.subject.model),
        simulator=model_folder(CFG.scores.simulator.model),
    output:
        probe=PROBE,
    log:
        "<logs>/probe.log",
    benchmark:
        "<benchmarks>/probe.tsv"
    conda:
        "../envs/models.yaml"
    threads: 4
    resources:
        mem_mb=memory("probe"),
        runtime=minutes("probe"),
        gpu=gpus("probe"),
        gpu_job=1,
    params:
        code=digest("probe.py"),
        simulator=CFG.scores.simulator.model_dump(exclude={"prompt"}),
        setting=CFG.scores.probe,
        seed=CFG.seed,
        weights=weights(CFG.subject.model, CFG.scores.simulator.model),
    message:
        "Probing the simulator: does it listen to descriptions?"
    script:
        "../scripts/probe.py"


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
        mem_mb=memory("pool_nulls"),
        runtime=minutes("pool_nulls"),
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
        exemplars=evidence_tables(EVIDENCE["exemplars"]),
        statistics=evidence_tables(EVIDENCE["statistics"]),
        descriptions=part_table(TABLES["descriptions"]),
        pool=null_pool,
        probe=probed,
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
        mem_mb=memory("score"),
        runtime=minutes("score"),
        gpu=gpus("score"),
        gpu_job=1,
    params:
        code=digest("score.py"),
        neurons=neurons_of_part(DESCRIBED),
        simulator=CFG.scores.simulator.model_dump(exclude={"prompt"}),
        settings=SCORE_SETTINGS,
        seed=CFG.seed,
        weights=weights(CFG.subject.model, CFG.scores.simulator.model),
        kept=kept_predictions("layer-{layer}/{part}"),
    message:
        "Scoring: layer {wildcards.layer}, {wildcards.part}"
    script:
        "../scripts/score.py"


# --- descriptions from elsewhere: only where asked for ---


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
        nulls=project_file(CFG.scores.null_descriptions, "scores.null_descriptions"),
        subject=model_folder(CFG.subject.model),
        simulator=model_folder(CFG.scores.simulator.model),
    output:
        scores="<results>/given/layer-{layer}/scores.parquet",
        simulations="<results>/given/layer-{layer}/simulations.parquet",
    log:
        "<logs>/score_given/layer-{layer}.log",
    benchmark:
        "<benchmarks>/score_given/layer-{layer}.tsv"
    params:
        code=digest("score.py"),
        neurons=given_neurons,
        simulator=CFG.scores.simulator.model_dump(exclude={"prompt"}),
        settings=SCORE_SETTINGS | {"every": True},
        seed=CFG.seed,
        weights=weights(CFG.subject.model, CFG.scores.simulator.model),
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
