# Search by meaning on the atlas's page; only where it is asked for.

# Of its settings what the fetched files do not depend on.
EMBEDDINGS = f"<resources>/embeddings/{spec_key(SEMANTIC, 'dimensions')}"


rule fetch_embeddings:
    output:
        embeddings=directory(EMBEDDINGS),
    log:
        "<logs>/fetch_embeddings.log",
    benchmark:
        "<benchmarks>/fetch_embeddings.tsv"
    conda:
        "../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=memory("fetch_embeddings"),
        runtime=minutes("fetch_embeddings"),
    params:
        code=digest("fetch_embeddings.py"),
        spec=tracked(SEMANTIC, exclude=["dimensions"]),
    message:
        "Fetching word embeddings"
    script:
        "../scripts/fetch_embeddings.py"


rule embed_descriptions:
    input:
        atlas="<results>/atlas/atlas.parquet",
        embeddings=EMBEDDINGS,
    output:
        vocabulary="<results>/atlas/meaning/vocabulary.js",
        rows=[f"<results>/atlas/meaning/layer-{layer}.js" for layer in SELECTED],
    log:
        "<logs>/embed_descriptions.log",
    benchmark:
        "<benchmarks>/embed_descriptions.tsv"
    conda:
        "../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=memory("embed_descriptions"),
        runtime=minutes("embed_descriptions"),
    params:
        code=digest("embed_descriptions.py"),
        dimensions=SEMANTIC.dimensions,
        layers=list(SELECTED),
    message:
        "Embedding descriptions"
    script:
        "../scripts/embed_descriptions.py"
