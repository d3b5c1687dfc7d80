from neuron_descriptions.atlas.details import Details
from neuron_descriptions.atlas.site import write_neuron_page
from neuron_descriptions.common.logs import job_log

with job_log(snakemake.log[0], snakemake.rule):
    neurons = [int(snakemake.wildcards.neuron)]
    details = Details.of_job(neurons, snakemake.input, snakemake.params.n_exemplars)
    layer = int(snakemake.wildcards.layer)
    write_neuron_page(snakemake.params.about, layer, details, snakemake.output.page)
