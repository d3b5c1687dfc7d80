from neuron_descriptions.common.logs import job_log
from neuron_descriptions.common.provenance import write_provenance

with job_log(snakemake.log[0], snakemake.rule):
    write_provenance(
        path=snakemake.output.provenance,
        config=snakemake.params.config,
        packages=snakemake.params.packages,
    )
