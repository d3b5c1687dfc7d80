from neuron_descriptions.common.logs import job_log
from neuron_descriptions.models.adapters import merge_adapter

with job_log(snakemake.log[0], snakemake.rule):
    merge_adapter(
        base=snakemake.input.base,
        adapter=snakemake.input.adapter,
        sha256=snakemake.params.sha256,
        output=snakemake.output.model,
        layers=snakemake.params.layers,
    )
