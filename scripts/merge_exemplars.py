from neuron_descriptions.common.logs import job_log
from neuron_descriptions.common.vocabulary import SPLITS
from neuron_descriptions.harvest.merging import merge

with job_log(snakemake.log[0], snakemake.rule):
    merge(
        shards={split: snakemake.input[f"{split}_shards"] for split in SPLITS},
        corpus={split: snakemake.input[split] for split in SPLITS},
        layer=int(snakemake.wildcards.layer),
        neurons=snakemake.params.neurons,
        rows=slice(*snakemake.params.rows),
        seed=snakemake.params.seed,
        exemplars=snakemake.output.exemplars,
        statistics=snakemake.output.statistics,
    )
