from neuron_descriptions.common.logs import job_log
from neuron_descriptions.common.vocabulary import SPLITS
from neuron_descriptions.config.base import restored
from neuron_descriptions.config.scores import Scores
from neuron_descriptions.scores.simulation import score_chunk

given, wanted = snakemake.input, snakemake.params
with job_log(snakemake.log[0], snakemake.rule):
    settings = restored(Scores, wanted.settings, simulator=wanted.simulator)
    score_chunk(
        neurons=wanted.neurons,
        layer=int(snakemake.wildcards.layer),
        corpus={split: given[split] for split in SPLITS},
        tables={name: given[name] for name in ("exemplars", "statistics", "descriptions")}
        | {"screened": given.get("screened")},
        nulls={"pool": given.get("pool"), "file": given.nulls},
        models={"subject": given.subject, "simulator": given.simulator, "prompt": given.get("prompt")},
        simulator=settings.simulator.model_dump(exclude={"prompt"}),
        settings=settings.model_dump(exclude={"simulator"}) | {"every": wanted.every},
        seed=wanted.seed,
        threads=snakemake.threads,
        outputs={name: snakemake.output[name] for name in ("scores", "simulations")},
        kept=wanted.kept,
    )
