from neuron_descriptions.atlas.details import Details
from neuron_descriptions.atlas.site import write_details
from neuron_descriptions.common.logs import job_log
from neuron_descriptions.common.vocabulary import SPLITS

with job_log(snakemake.log[0], snakemake.rule):
    details = Details(
        neurons=snakemake.params.neurons,
        corpus={split: snakemake.input[split] for split in SPLITS},
        tables=snakemake.input,
        subject_folder=snakemake.input.subject,
        n_exemplars=snakemake.params.n_exemplars,
    )
    write_details(int(snakemake.wildcards.layer), details, snakemake.output.details)
