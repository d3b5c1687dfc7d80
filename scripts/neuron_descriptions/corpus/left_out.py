"""What was left out of the texts: counted by reason, for the log and for the tables' metadata."""

import json
from collections import Counter

from neuron_descriptions.common.logs import logger


class LeftOut:
    """What was left out of a source: how often for each reason, and where first."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.first: dict[str, str] = {}

    def note(self, reason: str, where: str) -> None:
        """Count one more."""
        self.counts[reason] += 1
        self.first.setdefault(reason, where)

    def lines(self) -> list[str]:
        """A line for each reason."""
        return [f"{n} x {reason} (first: {self.first[reason]})" for reason, n in self.counts.items()]

    def log(self, what: str) -> None:
        """Say it in the log."""
        for line in self.lines():
            logger.warning("%s: left out %s", what, line)

    def metadata(self) -> dict[str, str]:
        """Metadata of the table that was made from the rest; nothing where nothing was left out."""
        return {"left_out": json.dumps(self.counts, sort_keys=True)} if self.counts else {}
