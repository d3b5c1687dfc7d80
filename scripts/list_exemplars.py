from neuron_descriptions.common.logs import job_log
from neuron_descriptions.config.sources import place_of
from neuron_descriptions.imports.listing import Wanted, list_exemplars

with job_log(snakemake.log[0], snakemake.rule):
    list_exemplars(
        place=place_of(snakemake.params.place),
        layer=int(snakemake.wildcards.layer),
        run=Wanted(**snakemake.params.settings),
        subject_folder=snakemake.input.subject,
        output=snakemake.output.listing,
    )
