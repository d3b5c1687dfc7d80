from neuron_descriptions.common.logs import job_log
from neuron_descriptions.config.base import restored
from neuron_descriptions.config.scores import Scores
from neuron_descriptions.scores.natural import score_natural
from neuron_descriptions.simulators.opening import Job

given, wanted = snakemake.input, snakemake.params
with job_log(snakemake.log[0], snakemake.rule):
    settings = restored(Scores, wanted.settings, simulator=wanted.simulator)
    score_natural(
        neurons=wanted.neurons,
        layer=int(snakemake.wildcards.layer),
        inputs=dict(given.items()),
        simulator=Job.of_job(settings.simulator, given, snakemake.threads, wanted.kept["access"]),
        settings=settings,
        seed=wanted.seed,
        outputs=dict(snakemake.output.items()),
        kept=wanted.kept,
    )
