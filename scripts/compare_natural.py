from neuron_descriptions.common.logs import job_log
from neuron_descriptions.scores.panel_chance import compare_natural

given, wanted = snakemake.input, snakemake.params
with job_log(snakemake.log[0], snakemake.rule):
    compare_natural(
        layer=int(snakemake.wildcards.layer),
        tables={name: list(given[name]) for name in ("scores", "shared", "nulls", "apart")},
        null_neurons=wanted.null_neurons,
        panel={"corpus": given.panel_test, "acts": given.panel_test_acts},
        sequences=wanted.sequences,
        seed=wanted.seed,
        output=snakemake.output.compared,
    )
