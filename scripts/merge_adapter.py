from neuron_descriptions.adapters import merge_adapter
from neuron_descriptions.logs import job_log

with job_log(snakemake.log[0], snakemake.rule):
    merge_adapter(
        base=snakemake.input.base,
        adapter=snakemake.input.adapter,
        sha256=snakemake.params.sha256,
        output=snakemake.output.model,
    )
