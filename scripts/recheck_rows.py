from neuron_descriptions.atlas.rechecking import recheck_rows
from neuron_descriptions.common.logs import job_log
from neuron_descriptions.config.base import restored
from neuron_descriptions.config.descriptions import Descriptions
from neuron_descriptions.config.features import Features
from neuron_descriptions.config.scores import Scores

given, wanted = snakemake.input, snakemake.params
with job_log(snakemake.log[0], snakemake.rule):
    described = restored(Descriptions, wanted.describing["settings"], explainer=wanted.describing["explainer"])
    scored = restored(Scores, wanted.scoring["settings"], simulator=wanted.scoring["simulator"])
    features = restored(Features, wanted.get("features", {})).model_dump()
    recheck_rows(
        neurons=wanted.neurons,
        tables={layer: {name: given[f"{name}_{layer}"] for name in wanted.names} for layer in wanted.neurons},
        atlas=given.atlas,
        subject={**wanted.subject, "folder": given.subject, "threads": snakemake.threads, "features": features}
        | {"dictionaries": dict(zip(wanted.neurons, given.dictionaries))},
        describing={**wanted.describing, "settings": described.model_dump(exclude={"explainer"})}
        | {"subject": given.subject, "prompt": given.explainer_prompt}
        | {"prompts_by_type": {kind: given[f"explainer_prompt_{kind}"] for kind in described.prompts_by_type}},
        scoring={**wanted.scoring, "settings": scored.model_dump(exclude={"simulator"})}
        | {"simulator": scored.simulator and scored.simulator.model_dump(exclude={"prompt"})}
        | {"models": {"subject": given.subject} | {name: given.get(name) for name in ("simulator", "prompt")}}
        | {"nulls": given.nulls, "rules": given.get("rules"), "threads": snakemake.threads},
        about=wanted.about,
        outputs={name: snakemake.output[name] for name in ("json", "text")},
    )
