from neuron_descriptions.common.logs import job_log
from neuron_descriptions.panel.neighbours import find_neighbours

with job_log(snakemake.log[0], snakemake.rule):
    find_neighbours(
        corpus=snakemake.input.panel,
        files=snakemake.input.acts,
        layer=int(snakemake.wildcards.layer),
        kept=snakemake.params.kept,
        threads=snakemake.threads,
        output=snakemake.output.neighbours,
    )
