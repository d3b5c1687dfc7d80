from neuron_descriptions.common.logs import job_log
from neuron_descriptions.config.base import restored
from neuron_descriptions.config.scores import Scores
from neuron_descriptions.scores.natural import score_natural

wanted = snakemake.params
with job_log(snakemake.log[0], snakemake.rule):
    settings = restored(Scores, wanted.settings, simulator=wanted.simulator)
    score_natural(
        neurons=wanted.neurons,
        layer=int(snakemake.wildcards.layer),
        inputs=dict(snakemake.input.items()),
        simulator=settings.simulator.model_dump(exclude={"prompt"}),
        settings=settings,
        seed=wanted.seed,
        threads=snakemake.threads,
        outputs=dict(snakemake.output.items()),
        kept=wanted.kept,
    )
