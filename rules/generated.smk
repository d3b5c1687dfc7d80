# Generation: texts written from the chosen descriptions, read by the subject once for all features.


localrules:
    ask_for_texts,


rule write_texts:
    input:
        descriptions=part_table(TABLES["descriptions"]),
        scores=part_table(TABLES["scores"]),
        prompt=lambda wildcards: WRITER_PROMPTS[wildcards.scorer],
        writer=writer_folder,
    output:
        texts=f"<results>/generated/{{scorer,{one_of(WRITING)}}}/layer-{{layer}}/texts-{{part}}.parquet",
        accounting=f"<results>/generated/{{scorer,{one_of(WRITING)}}}/layer-{{layer}}/accounting-{{part}}.parquet",
    log:
        "<logs>/write_texts/{scorer}/layer-{layer}/{part}.log",
    benchmark:
        "<benchmarks>/write_texts/{scorer}/layer-{layer}/{part}.tsv"
    conda:
        writer_environment
    threads: 4
    resources:
        mem_mb=memory("write_texts"),
        runtime=minutes("write_texts"),
        gpu=gpus("write_texts"),
        gpu_job=1,
    params:
        code=lambda wildcards: digest("write_texts.py", without=unused(wildcards)),
        neurons=neurons_of_part(DESCRIBED),
        section=of_writing,
        access=writer_access,
        requests=untracked(REQUESTS),
        seed=CFG.seed,
        weights=lambda wildcards: weights(writer_model(wildcards.scorer)),
    message:
        "Writing texts for {wildcards.scorer}: layer {wildcards.layer}, {wildcards.part}"
    script:
        "../scripts/write_texts.py"


use rule write_texts as ask_for_texts with:
    output:
        texts=f"<results>/generated/{{scorer,{one_of(ASKED_TO_WRITE)}}}/layer-{{layer}}/texts-{{part}}.parquet",
        accounting=f"<results>/generated/{{scorer,{one_of(ASKED_TO_WRITE)}}}/layer-{{layer}}/accounting-{{part}}.parquet",
    conda:
        "../envs/endpoints.yaml"
    threads: 1
    resources:
        mem_mb=memory("ask_for_texts"),
        runtime=minutes("ask_for_texts"),
        gpu=0,
        gpu_job=0,
        endpoint=1,


rule account_texts:
    input:
        parts=lambda wildcards: all_chunks(
            "<results>/generated/{scorer}/layer-{{layer}}/accounting-{{part}}.parquet".format(
                scorer=wildcards.scorer
            )
        ),
    output:
        accounts=f"<results>/generated/{{scorer,{one_of(GENERATING)}}}/accounting.parquet",
    log:
        "<logs>/account_texts/{scorer}.log",
    benchmark:
        "<benchmarks>/account_texts/{scorer}.tsv"
    conda:
        "../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=memory("account_texts"),
        runtime=minutes("account_texts"),
    params:
        code=digest("account.py"),
        prices=prices_of_writer,
    message:
        "Adding up what the texts of {wildcards.scorer} took"
    script:
        "../scripts/account.py"


rule gather_texts:
    input:
        texts=written_texts,
        model=model_folder(CFG.subject.model),
    output:
        corpus=f"<results>/generated/{{scorer,{one_of(GENERATING)}}}/corpus.parquet",
        others="<results>/generated/{scorer}/others.parquet",
    log:
        "<logs>/gather_texts/{scorer}.log",
    benchmark:
        "<benchmarks>/gather_texts/{scorer}.tsv"
    conda:
        "../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=memory("gather_texts"),
        runtime=minutes("gather_texts"),
    params:
        code=digest("gather_texts.py"),
        cut=TEXTS_CUT,
        others=lambda wildcards: SCORERS[wildcards.scorer].others,
        seed=CFG.seed,
        weights=weights(CFG.subject.model),
    message:
        "Gathering the texts of {wildcards.scorer}"
    script:
        "../scripts/gather_texts.py"


rule run_texts:
    input:
        corpus="<results>/generated/{scorer}/corpus.parquet",
        others="<results>/generated/{scorer}/others.parquet",
        texts=written_texts,
        model=model_folder(CFG.subject.model),
        dictionaries=converted_features(lambda wildcards: SELECTED),
    output:
        peaks=[
            f"<results>/generated/{{scorer}}/layer-{layer}/peaks.parquet"
            for layer in SELECTED
        ],
    log:
        "<logs>/run_texts/{scorer}.log",
    benchmark:
        "<benchmarks>/run_texts/{scorer}.tsv"
    conda:
        "../envs/models.yaml"
    threads: 4
    resources:
        mem_mb=memory("run_texts"),
        runtime=minutes("run_texts"),
        gpu=gpus("run_texts"),
        gpu_job=1,
    params:
        **feature_params(lambda wildcards: SELECTED),
        code=digest("run_texts.py", without=OTHER_SOURCES),
        subject=ARCHITECTURE,
        batch_size=READ_AT_ONCE,
        device_map=CFG.subject.device_map,
        neurons=SELECTED,
        weights=weights(CFG.subject.model),
        layers_per_pass=untracked(len(SELECTED)),
    message:
        "Running the texts of {wildcards.scorer} through the subject"
    script:
        "../scripts/run_texts.py"
