from neuron_descriptions.common.logs import job_log
from neuron_descriptions.config.base import restored
from neuron_descriptions.config.scores import Scores
from neuron_descriptions.scores.simulation import score_chunk
from neuron_descriptions.simulators.opening import Job

given, wanted = snakemake.input, snakemake.params
with job_log(snakemake.log[0], snakemake.rule):
    settings = restored(Scores, wanted.settings, simulator=wanted.simulator)
    simulator = settings.simulator.model_dump(exclude={"prompt"})
    score_chunk(
        neurons=wanted.neurons,
        layer=int(snakemake.wildcards.layer),
        tables=dict(given.items()),
        simulator=Job(
            simulator, given.simulator, given.get("prompt"), given.subject, snakemake.threads, wanted.kept["access"]
        ),
        settings=settings.model_dump(exclude={"simulator"}) | {"every": wanted.every},
        seed=wanted.seed,
        outputs={name: snakemake.output[name] for name in ("scores", "simulations")},
        kept=wanted.kept,
    )
