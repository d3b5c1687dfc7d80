# What is trained on a run: only where asked for.


if CFG.training is not None:

    include: "training.smk"


if CFG.distillation is not None:

    include: "distillation.smk"


if CFG.dictionary_training is not None:

    include: "dictionary_training.smk"
