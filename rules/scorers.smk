# Further scorers, each with a table of its own: by a local model or by none, or by an endpoint that is asked.


localrules:
    ask_scorer,


rule run_scorer:
    input:
        **CORPUS,
        **panel_of_layer("panel_test"),
        **generated_inputs(),
        exemplars=evidence_tables(EVIDENCE["exemplars"]),
        statistics=evidence_tables(EVIDENCE["statistics"]),
        descriptions=part_table(TABLES["descriptions"]),
        scores=what_was_chosen,
        simulations=predictions_of_part,
        shared=shared_predictions,
        pool=null_pool,
        nulls=NULL_DESCRIPTIONS,
        prompt=lambda wildcards: JUDGE_PROMPTS.get(wildcards.scorer, []),
        judge=judge_folder,
        subject=model_folder(CFG.subject.model),
    output:
        scores=f"<results>/scorers/{{scorer,{one_of(RUNNING)}}}/layer-{{layer}}/{{part}}.parquet",
    log:
        "<logs>/run_scorer/{scorer}/layer-{layer}/{part}.log",
    benchmark:
        "<benchmarks>/run_scorer/{scorer}/layer-{layer}/{part}.tsv"
    conda:
        scorer_environment
    threads: 4
    resources:
        mem_mb=memory("run_scorer"),
        runtime=minutes("run_scorer"),
        gpu=lambda wildcards: int(judge_model(wildcards.scorer) is not None),
        gpu_job=lambda wildcards: int(judge_model(wildcards.scorer) is not None),
    params:
        code=lambda wildcards: digest("run_scorer.py", without=modules_apart(wildcards)),
        neurons=neurons_of_part(DESCRIBED),
        section=of_scorer,
        numbers=SCORER_NUMBERS,
        access=scorer_access,
        requests=untracked(REQUESTS),
        seed=CFG.seed,
        read=lambda wildcards: held(
            NULL_DESCRIPTIONS, JUDGE_PROMPTS.get(wildcards.scorer)
        ),
        weights=lambda wildcards: weights(
            CFG.subject.model, judge_model(wildcards.scorer)
        ),
    message:
        "Scoring by {wildcards.scorer}: layer {wildcards.layer}, {wildcards.part}"
    script:
        "../scripts/run_scorer.py"


use rule run_scorer as ask_scorer with:
    output:
        scores=f"<results>/scorers/{{scorer,{one_of(ASKING)}}}/layer-{{layer}}/{{part}}.parquet",
    conda:
        "../envs/judges.yaml"
    threads: 1
    resources:
        mem_mb=memory("ask_scorer"),
        runtime=minutes("ask_scorer"),
        gpu=0,
        gpu_job=0,
        endpoint=1,
