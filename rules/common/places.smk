# Where exemplars are fetched from, and where a run is published. No rules.


def exemplars_place():
    """Where published exemplars are."""
    place = CFG.exemplars.place()
    if "path" in place:
        place["path"] = find(place["path"], HOME) or place["path"]
    return place


def publishing_place(wildcards):
    """Where the run is published."""
    if CFG.publish is None:
        raise ValueError(
            "the configuration has no section `publish`; see config/README.md"
        )
    return CFG.publish.place()
