from neuron_descriptions.atlas.details import Details
from neuron_descriptions.atlas.site import write_details
from neuron_descriptions.common.logs import job_log

with job_log(snakemake.log[0], snakemake.rule):
    details = Details.of_job(snakemake.params.neurons, snakemake.input, snakemake.params.n_exemplars)
    write_details(int(snakemake.wildcards.layer), details, snakemake.output.details)
