from neuron_descriptions.common.logs import job_log
from neuron_descriptions.common.provenance import write_provenance
from neuron_descriptions.config.base import restored
from neuron_descriptions.config.sections import Config

with job_log(snakemake.log[0], snakemake.rule):
    write_provenance(
        path=snakemake.output.provenance,
        config=restored(Config, snakemake.params.config).model_dump(exclude={"plan"}),
        packages=snakemake.params.packages,
    )
