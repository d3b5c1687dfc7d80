# Text: documents per source; then one table of tokenized sequences per split.


include: "common/corpus.smk"


check_the_subject_that_is_there()


rule fetch_documents:
    output:
        documents="<resources>/documents/{source}.parquet",
    log:
        "<logs>/fetch_documents/{source}.log",
    benchmark:
        "<benchmarks>/fetch_documents/{source}.tsv"
    conda:
        "../envs/tables.yaml"
    threads: 1
    resources:
        mem_mb=memory("fetch_documents"),
        runtime=minutes("fetch_documents"),
    params:
        code=digest("fetch_documents.py"),
        spec=lambda wildcards: text_spec(wildcards.source),
        seed=CFG.seed,
        content=lambda wildcards: texts(wildcards.source),
    message:
        "Fetching documents of {wildcards.source}"
    script:
        "../scripts/fetch_documents.py"


rule build_corpus:
    input:
        documents=[documents(source) for source in TEXTS],
        model=model_folder(CFG.subject.model),
    output:
        train="<evidence>/corpus/train.parquet",
        valid="<evidence>/corpus/valid.parquet",
        test="<evidence>/corpus/test.parquet",
    log:
        "<logs>/build_corpus.log",
    benchmark:
        "<benchmarks>/build_corpus.tsv"
    conda:
        "../envs/models.yaml"
    threads: 2
    resources:
        mem_mb=memory("build_corpus"),
        runtime=minutes("build_corpus"),
    params:
        code=digest("build_corpus.py"),
        settings=tracked(CFG.corpus),
        seed=CFG.seed,
        fetching=digest("fetch_documents.py"),
        texts=lambda wildcards: texts(*TEXTS),
        weights=weights(CFG.subject.model),
    message:
        "Cutting and tokenizing the corpus"
    script:
        "../scripts/build_corpus.py"
