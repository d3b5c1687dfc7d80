from neuron_descriptions.common.logs import job_log
from neuron_descriptions.config.base import restored
from neuron_descriptions.config.scores import Simulator
from neuron_descriptions.scores.probing import probe
from neuron_descriptions.simulators.opening import Asking

given, wanted = snakemake.input, snakemake.params
with job_log(snakemake.log[0], snakemake.rule):
    simulator = restored(Simulator, wanted.simulator)
    probe(
        corpus=given.corpus,
        rules=given.rules,
        models={"subject": given.subject, "simulator": given.simulator, "prompt": given.get("prompt")}
        | {"asking": Asking.of(simulator, wanted.access)},
        simulator=simulator,
        setting=wanted.setting,
        seed=wanted.seed,
        threads=snakemake.threads,
        output=snakemake.output.probe,
    )
