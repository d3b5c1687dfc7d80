from neuron_descriptions.common.logs import job_log
from neuron_descriptions.config.base import restored
from neuron_descriptions.config.features import Features
from neuron_descriptions.harvest.shard import harvest

with job_log(snakemake.log[0], snakemake.rule):
    harvest(
        model_folder=snakemake.input.model,
        corpus=snakemake.input.corpus,
        split=snakemake.wildcards.split,
        neurons=snakemake.params.neurons,
        **snakemake.params.subject,
        **snakemake.params.settings,
        shard=int(snakemake.wildcards.shard),
        shards=snakemake.params.shards,
        device_map=snakemake.params.device_map,
        seed=snakemake.params.seed,
        threads=snakemake.threads,
        output=snakemake.output.state,
        features=restored(Features, snakemake.params.get("features", {})).model_dump(),
        dictionaries=dict(zip(snakemake.params.neurons, snakemake.input.dictionaries)),
    )
