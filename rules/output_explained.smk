# What an explainer says of the tokens that features write, and whether tokens that it was not shown fit that.


include: "common/output_explained.smk"


if OUTPUT_EXPLAINER.remote:

    localrules:
        explain_output_side,


rule explain_output_side:
    input:
        **output_explainer_folder(),
        prompt=output_prompt(),
        output_side=output_side_table,
        scaled=OUTPUT_SCALED,
    output:
        explained=EXPLAINED_TABLE,
        accounting="<results>/output_side/explained/layer-{layer}/accounting-{part}.parquet",
    log:
        "<logs>/explain_output_side/layer-{layer}/{part}.log",
    benchmark:
        "<benchmarks>/explain_output_side/layer-{layer}/{part}.tsv"
    conda:
        f"../envs/{OUTPUT_EXPLAINER.environment()}.yaml"
    threads: 1 if OUTPUT_EXPLAINER.remote else 4
    resources:
        mem_mb=memory("explain_output_side"),
        runtime=minutes("explain_output_side"),
        gpu=gpus("explain_output_side"),
        gpu_job=int(not OUTPUT_EXPLAINER.remote),
        endpoint=int(OUTPUT_EXPLAINER.remote),
    params:
        code=digest("explain_output_side.py", without=clients_apart(OUTPUT_EXPLAINER)),
        neurons=neurons_of_part(DESCRIBED),
        explainer=tracked(OUTPUT_EXPLAINER, exclude=ACCESS_KEYS),
        settings=tracked(
            CFG.descriptions, include=["temperature", "max_tokens", "attempts"]
        ),
        one_sided=CFG.features.one_sided,
        access=untracked(OUTPUT_EXPLAINER.model_dump(include=set(ACCESS_KEYS))),
        requests=untracked(REQUESTS),
        seed=CFG.seed,
        read=held(output_prompt()),
        weights=weights(OUTPUT_EXPLAINER.local_model()),
    message:
        "Asking what features write: layer {wildcards.layer}, {wildcards.part}"
    script:
        "../scripts/explain_output_side.py"


use rule account as account_output_side with:
    input:
        parts=all_chunks(
            "<results>/output_side/explained/layer-{layer}/accounting-{part}.parquet"
        ),
    output:
        accounts="<results>/output_side/accounting.parquet",
    log:
        "<logs>/account_output_side.log",
    benchmark:
        "<benchmarks>/account_output_side.tsv"
    resources:
        mem_mb=memory("account_output_side"),
        runtime=minutes("account_output_side"),
    params:
        code=digest("account.py"),
        prices=getattr(OUTPUT_EXPLAINER, "prices", None)
        and OUTPUT_EXPLAINER.prices.model_dump(),
    message:
        "Adding up what descriptions of the output side took"


if OUTPUT_JUDGE.remote:

    localrules:
        judge_output_tokens,


rule judge_output_tokens:
    input:
        **output_judge_folder(),
        explained=parts_of_layer(EXPLAINED_TABLE),
        output_side=output_side_table,
        prompt=output_judge_prompt(),
        subject=model_folder(CFG.subject.model),
    output:
        judged=OUTPUT_TOKENS_TABLE,
    log:
        "<logs>/judge_output_tokens/layer-{layer}/{part}.log",
    benchmark:
        "<benchmarks>/judge_output_tokens/layer-{layer}/{part}.tsv"
    conda:
        f"../envs/{'judges' if OUTPUT_JUDGE.remote else OUTPUT_JUDGE.environment()}.yaml"
    threads: 1 if OUTPUT_JUDGE.remote else 4
    resources:
        mem_mb=memory("judge_output_tokens"),
        runtime=minutes("judge_output_tokens"),
        gpu=gpus("judge_output_tokens"),
        gpu_job=int(not OUTPUT_JUDGE.remote),
        endpoint=int(OUTPUT_JUDGE.remote),
    params:
        code=digest("judge_output_tokens.py", without=clients_apart(OUTPUT_JUDGE)),
        neurons=neurons_of_part(DESCRIBED),
        judge=tracked(OUTPUT_JUDGE, exclude=ACCESS_KEYS),
        settings=tracked(CFG.output_side, include=["others", "tokens_per_request"]),
        numbers=tracked(CFG.scores, include=["bootstrap", "confidence"]),
        access=untracked(OUTPUT_JUDGE.model_dump(include=set(ACCESS_KEYS))),
        requests=untracked(REQUESTS),
        seed=CFG.seed,
        read=held(output_judge_prompt()),
        weights=weights(CFG.subject.model, OUTPUT_JUDGE.local_model()),
    message:
        "Judging what is said of features' output side: layer {wildcards.layer}, {wildcards.part}"
    script:
        "../scripts/judge_output_tokens.py"
