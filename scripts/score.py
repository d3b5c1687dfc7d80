from neuron_descriptions.common.logs import job_log
from neuron_descriptions.config.base import restored
from neuron_descriptions.config.scores import Scores
from neuron_descriptions.scores.simulation import Chunk, score_chunk
from neuron_descriptions.simulators.opening import Job

given, wanted = snakemake.input, snakemake.params
with job_log(snakemake.log[0], snakemake.rule):
    settings = restored(Scores, wanted.settings, simulator=wanted.simulator)
    score_chunk(
        Chunk(int(snakemake.wildcards.layer), wanted.neurons, wanted.seed, wanted.every),
        tables=dict(given.items()),
        simulator=Job.of_job(settings.simulator, given, snakemake.threads, wanted.kept["access"]),
        settings=settings,
        outputs={name: snakemake.output[name] for name in ("scores", "simulations")},
        kept=wanted.kept,
    )
