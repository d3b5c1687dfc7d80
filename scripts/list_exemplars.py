from neuron_descriptions.importing import list_exemplars
from neuron_descriptions.logs import job_log

with job_log(snakemake.log[0], snakemake.rule):
    list_exemplars(
        place=snakemake.params.place,
        layer=int(snakemake.wildcards.layer),
        **snakemake.params.settings,
        subject_folder=snakemake.input.subject,
        output=snakemake.output.listing,
    )
