from neuron_descriptions.importing import import_exemplars
from neuron_descriptions.logs import job_log
from neuron_descriptions.records import SPLITS

with job_log(snakemake.log[0], snakemake.rule):
    import_exemplars(
        place=snakemake.params.place,
        listing=snakemake.input.listing,
        layer=int(snakemake.wildcards.layer),
        neurons=snakemake.params.neurons,
        corpus={split: snakemake.output[split] for split in SPLITS},
        exemplars=snakemake.output.exemplars,
        statistics=snakemake.output.statistics,
    )
