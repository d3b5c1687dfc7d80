from neuron_descriptions.common.logs import job_log
from neuron_descriptions.config.base import restored
from neuron_descriptions.config.scores import Scores
from neuron_descriptions.scores.choosing import choose_descriptions

wanted = snakemake.params
with job_log(snakemake.log[0], snakemake.rule):
    settings = restored(Scores, wanted.settings, simulator=None)
    choose_descriptions(
        neurons=wanted.neurons,
        layer=int(snakemake.wildcards.layer),
        inputs={name: files for name, files in snakemake.input.items() if files},
        choice=wanted.choice,
        settings=settings.model_dump(exclude={"simulator"}),
        seed=wanted.seed,
        output=snakemake.output.scores,
    )
