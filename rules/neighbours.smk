# Features whose activations on the panel go together, over all layers; only where the panel is asked for them.


rule find_neighbours:
    input:
        panel="<evidence>/corpus/panel.parquet",
        acts=[
            f"<evidence>/panel/panel/layer-{layer}.safetensors"
            for layer in KEPT.neurons
        ],
    output:
        neighbours=NEIGHBOURS_TABLE,
    log:
        "<logs>/find_neighbours/layer-{layer}.log",
    benchmark:
        "<benchmarks>/find_neighbours/layer-{layer}.tsv"
    conda:
        "../envs/models.yaml"
    threads: 4
    resources:
        mem_mb=memory("find_neighbours"),
        runtime=minutes("find_neighbours"),
    params:
        code=digest("find_neighbours.py"),
        kept=CFG.panel.neighbours,
    message:
        "Finding features like one another: layer {wildcards.layer}"
    script:
        "../scripts/find_neighbours.py"
