from neuron_descriptions.atlas.details import Details
from neuron_descriptions.atlas.site import write_neuron_page
from neuron_descriptions.common.logs import job_log, logger

wanted, page = snakemake.params, snakemake.output.page
with job_log(snakemake.log[0], snakemake.rule):
    details = Details.of_job([wanted.neuron], snakemake.input, wanted.n_exemplars)
    write_neuron_page(wanted.about, wanted.layer, details, page)
    logger.info("the first neuron has its page, before any score: open %s", page)
