# The harvest: forward passes, one job per split, shard of its sequences and block of layers.

# What decides a harvest's result; the merge names it too, since the harvest's own files are temporary.
HARVEST = {
    "code": digest("harvest.py", without=OTHER_SOURCES + WITHOUT_GATES),
    "subject": ARCHITECTURE,
    "settings": {
        "keep": {
            "top": CFG.exemplars.k,
            "middle": CFG.exemplars.middle,
            "random": CFG.exemplars.random,
            **({"gates": True} if CFG.exemplars.gates else {}),
        },
        "batch_size": CFG.exemplars.batch_size,
    },
    "seed": CFG.seed,
    "weights": weights(CFG.subject.model),
}


rule harvest:
    input:
        model=model_folder(CFG.subject.model),
        corpus="<evidence>/corpus/{split}.parquet",
        dictionaries=converted_features(block_layers),
    output:
        state=temp("<evidence>/activations/{split}/shard-{shard}/{block}.safetensors"),
    log:
        "<logs>/harvest/{split}/shard-{shard}/{block}.log",
    benchmark:
        "<benchmarks>/harvest/{split}/shard-{shard}/{block}.tsv"
    conda:
        "../envs/models.yaml"
    threads: 4
    resources:
        mem_mb=memory("harvest"),
        runtime=minutes("harvest"),
        gpu=gpus("harvest"),
        gpu_job=1,
    params:
        **feature_params(block_layers),
        code=HARVEST["code"],
        subject=HARVEST["subject"],
        settings=HARVEST["settings"],
        seed=HARVEST["seed"],
        shards=lambda wildcards: LAYOUT.shards(wildcards.split),
        device_map=CFG.subject.device_map,
        neurons=lambda wildcards: LAYOUT.block_neurons(wildcards.block),
        weights=HARVEST["weights"],
    message:
        "Harvesting activations: {wildcards.split}, shard {wildcards.shard}, {wildcards.block}"
    script:
        "../scripts/harvest.py"
