from neuron_descriptions.common.logs import job_log
from neuron_descriptions.common.vocabulary import SPLITS
from neuron_descriptions.config.sources import place_of
from neuron_descriptions.imports.published import import_exemplars

with job_log(snakemake.log[0], snakemake.rule):
    import_exemplars(
        place=place_of(snakemake.params.place),
        listing=snakemake.input.listing,
        layer=int(snakemake.wildcards.layer),
        neurons=snakemake.params.neurons,
        corpus={split: snakemake.output[split] for split in SPLITS},
        exemplars=snakemake.output.exemplars,
        statistics=snakemake.output.statistics,
    )
