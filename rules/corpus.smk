# Text: documents per source; then one table of tokenized sequences per split.


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
        spec=lambda wildcards: TEXTS[wildcards.source].model_dump(exclude={"ratio"}),
        seed=CFG.seed,
    message:
        "Fetching documents of {wildcards.source}"
    script:
        "../scripts/fetch_documents.py"


rule build_corpus:
    input:
        documents=[f"<resources>/documents/{source}.parquet" for source in TEXTS],
        model=model_folder(CFG.subject.model),
    output:
        **CORPUS,
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
        sources={
            name: {"ratio": spec.ratio} for name, spec in CFG.corpus.sources.items()
        },
        settings=CFG.corpus.model_dump(exclude={"sources"}),
        seed=CFG.seed,
    message:
        "Cutting and tokenizing the corpus"
    script:
        "../scripts/build_corpus.py"
