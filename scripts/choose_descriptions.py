from neuron_descriptions.common.logs import job_log
from neuron_descriptions.config.base import restored
from neuron_descriptions.config.scores import Scores
from neuron_descriptions.scores.choosing import chosen_rows, write_choice

wanted = snakemake.params
with job_log(snakemake.log[0], snakemake.rule):
    rows = chosen_rows(
        neurons=wanted.neurons,
        layer=int(snakemake.wildcards.layer),
        inputs={name: files for name, files in snakemake.input.items() if files},
        choice=wanted.choice,
        settings=restored(Scores, wanted.settings, simulator=None),
        seed=wanted.seed,
    )
    write_choice(rows, wanted.choice, snakemake.output.scores)
