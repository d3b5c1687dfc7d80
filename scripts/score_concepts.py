from neuron_descriptions.common.logs import job_log
from neuron_descriptions.scores.concepts import score_concepts

with job_log(snakemake.log[0], snakemake.rule):
    score_concepts(
        neurons=snakemake.params.neurons,
        layer=int(snakemake.wildcards.layer),
        inputs={name: files for name, files in snakemake.input.items() if files},
        numbers=snakemake.params.numbers,
        output=snakemake.output.concepts,
    )
