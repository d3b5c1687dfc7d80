"""Objects of an S3 bucket, and of a folder filled from one: read in ranges, checked, tried again."""

import json
import re
import time
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol, TypeVar

from neuron_descriptions.common.logs import logger

T = TypeVar("T")

# Tries of one request, and seconds before the next one, doubled each time: about two minutes in all.
ATTEMPTS, PAUSE, LONGEST_PAUSE = 10, 0.5, 30.0
REFUSALS = ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "403")
# What an error's message names where a store does not take checksums; one that does not fit is another matter.
CHECKSUMS = re.compile(r"x-amz-(sdk-)?(checksum|trailer)|aws-chunked|STREAMING-", re.IGNORECASE)
MISMATCHES = ("BadDigest", "InvalidDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch")
CHUNK = 1 << 18  # bytes taken from a connection at once


class Missing(ValueError):
    """There is no such object."""


class Changed(ValueError):
    """The object is another one than when it was listed."""

    def __init__(self, name: str):
        super().__init__(f"{name} has changed since it was listed")


class Unsupported(ValueError):
    """The store does not know what the request asks for, such as a checksum of an upload."""


@dataclass(slots=True, frozen=True)
class Facts:
    """An object's size in bytes, and what tells its versions apart: the ETag; a file's size and time of change."""

    size: int
    tag: str


class Store(Protocol):
    """Where objects are."""

    def name(self, key: str) -> str:
        """The object's full name, for messages."""

    def head(self, key: str, size: int) -> tuple[bytes, Facts]:
        """The first `size` bytes, or all where there are fewer. Raises Missing."""

    def read_into(self, key: str, first: int, buffer: memoryview, facts: Facts) -> None:
        """Fill the buffer with the bytes from `first` on. Raises Changed where the object is no longer the one that
        `facts` are of."""


class Place(Protocol):
    """What says where a bucket is, such as a section of the configuration."""

    bucket: str
    prefix: str
    endpoint: str | None
    region: str
    anonymous: bool


BucketOrFolder = Place | Path


def open_store(place: BucketOrFolder) -> Store:
    """The store at a place: a bucket, or a folder."""
    return Folder(place) if isinstance(place, Path) else Bucket(place)


class Folder:
    """A local folder."""

    def __init__(self, path: Path):
        self.path = path

    def name(self, key: str) -> str:
        """The file's path."""
        return str(self.path / key)

    def _facts(self, key: str) -> Facts:
        status = (self.path / key).stat()
        return Facts(status.st_size, f"{status.st_size}-{status.st_mtime_ns}")

    def head(self, key: str, size: int) -> tuple[bytes, Facts]:
        """See Store."""
        try:
            with (self.path / key).open("rb") as file:
                return file.read(size), self._facts(key)
        except (FileNotFoundError, NotADirectoryError):
            raise Missing(f"{self.name(key)} does not exist") from None

    def read_into(self, key: str, first: int, buffer: memoryview, facts: Facts) -> None:
        """See Store."""
        try:
            with (self.path / key).open("rb", buffering=0) as file:
                file.seek(first)
                filled = 0
                while filled < len(buffer) and (taken := file.readinto(buffer[filled:])):
                    filled += taken
        except FileNotFoundError:
            raise Changed(self.name(key)) from None
        if filled < len(buffer) or self._facts(key) != facts:
            raise Changed(self.name(key))


class Bucket:
    """A bucket, below a prefix. Credentials are boto3's own affair: environment, profile, or instance role."""

    def __init__(self, place: Place, connections: int = 16):
        import boto3
        from botocore import UNSIGNED
        from botocore.config import Config

        self.bucket, self.prefix = place.bucket, place.prefix.strip("/")
        # One try per request here: what fails is tried again by _again, a broken transfer included.
        config = Config(
            signature_version=UNSIGNED if place.anonymous else None,
            retries={"total_max_attempts": 1},
            connect_timeout=10,
            read_timeout=60,
            max_pool_connections=connections,
            s3={"addressing_style": "path"} if place.endpoint else None,
            # Only what is asked for below: some stores refuse every checksum, also one that nobody named.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        self.checksums = True  # until the store refuses them
        self.client = boto3.session.Session().client(
            "s3", endpoint_url=place.endpoint, region_name=place.region, config=config
        )

    def _key(self, key: str) -> str:
        return f"{self.prefix}/{key}" if self.prefix else key

    def name(self, key: str) -> str:
        """The object's s3:// address."""
        return f"s3://{self.bucket}/{self._key(key)}"

    def head(self, key: str, size: int) -> tuple[bytes, Facts]:
        """See Store."""

        def action() -> tuple[bytes, Facts]:
            body, _, facts = self._range(key, 0, size)
            with body:
                content = body.read(size)
            if len(content) < min(size, facts.size):
                raise ConnectionError(f"the transfer ended after {len(content)} of {size} bytes")
            return content, facts

        return self._again(key, action)

    def read_into(self, key: str, first: int, buffer: memoryview, facts: Facts) -> None:
        """See Store. Raises ValueError where the store ignores ranges."""

        def action() -> None:
            body, part, found = self._range(key, first, len(buffer), IfMatch=facts.tag)
            with body:
                if found != facts:
                    raise Changed(self.name(key))
                if not part and len(buffer) < found.size:
                    raise ValueError(
                        f"{self.name(key)}: the store ignores the range that is asked for (it answers 200 with all of"
                        f" {found.size} bytes, not 206 with {len(buffer)}). Copy the folder to a disk (aws s3 sync) and"
                        " give its `path`, or use an endpoint that answers ranges"
                    )
                filled = 0
                while filled < len(buffer):
                    taken = body.readinto(buffer[filled : filled + CHUNK])
                    if not taken:
                        raise ConnectionError(f"the transfer ended after {filled} of {len(buffer)} bytes")
                    filled += taken

        self._again(key, action)

    def _range(self, key: str, first: int, size: int, **conditions: str) -> tuple[Any, bool, Facts]:
        """(body, whether it is a part, the object's facts) of a request for `size` bytes from `first` on; the body of
        a store that ignores ranges is the whole object. Raises ValueError where it is anything else."""
        answer = self.client.get_object(
            Bucket=self.bucket, Key=self._key(key), Range=f"bytes={first}-{first + size - 1}", **conditions
        )
        tag = answer.get("ETag")
        if not tag:
            raise ValueError(f"{self.name(key)}: the store gives no ETag, which tells versions apart; use another")
        if answer["ResponseMetadata"]["HTTPStatusCode"] != 206:
            return answer["Body"], False, Facts(answer["ContentLength"], tag)
        found = answer.get("ContentRange", "")
        parts = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", found)
        start, end, whole = map(int, parts.groups()) if parts else (-1, -1, 0)
        if (start, end) != (first, min(first + size, whole) - 1):
            raise ValueError(
                f"{self.name(key)}: asked for bytes {first}-{first + size - 1}, the store answered with Content-Range"
                f" {found!r}; use another endpoint, or copy the folder to a disk and give its `path`"
            )
        return answer["Body"], True, Facts(whole, tag)

    def sizes(self, below: str) -> dict[str, int]:
        """Every object whose key begins with `below`: key -> bytes."""

        def action() -> dict[str, int]:
            pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self._key(below))
            cut = len(self._key(""))
            return {o["Key"][cut:]: o["Size"] for page in pages for o in page.get("Contents", [])}

        return self._again(below, action)

    def upload(self, path: Path, key: str) -> None:
        """Upload a file, in parts where it is large; the server checks each part's sha256, if it can."""
        from boto3.s3.transfer import TransferConfig

        parts = TransferConfig(multipart_threshold=32 << 20, multipart_chunksize=16 << 20, max_concurrency=4)

        def action(checksum: dict[str, str]) -> None:
            self.client.upload_file(str(path), self.bucket, self._key(key), ExtraArgs=checksum, Config=parts)

        self._send(key, action, {"ChecksumAlgorithm": "SHA256"})

    def put(self, content: bytes, key: str) -> None:
        """Upload bytes; the server checks their sha256, if it can."""

        def action(checksum: dict[str, str]) -> None:
            options = {"ContentType": "application/json"} | checksum
            self.client.put_object(Bucket=self.bucket, Key=self._key(key), Body=content, **options)

        self._send(key, action, {"ChecksumSHA256": b64encode(sha256(content).digest()).decode()})

    def _send(self, key: str, action: Callable[[dict[str, str]], None], checksum: dict[str, str]) -> None:
        """Upload with the checksum; without, from the first time on that the store refuses one."""
        if self.checksums:
            try:
                return self._again(key, lambda: action(checksum))
            except Unsupported as error:
                logger.info("%s; uploading without checksums: fetching checks sha256 anyway", error)
                self.checksums = False
        return self._again(key, lambda: action({}))

    def _again(self, key: str, action: Callable[[], T]) -> T:
        """Do it, again where the connection or the server failed. Raises ValueError that says what to do where
        trying again is of no use, ConnectionError after the last try."""
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, ParamValidationError
        from urllib3.exceptions import HTTPError

        for attempt in range(ATTEMPTS):
            try:
                return action()
            except NoCredentialsError:
                raise ValueError(
                    f"{self.name(key)}: no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or"
                    " AWS_PROFILE) in the environment, or `anonymous: true` to read a public bucket"
                ) from None
            except ParamValidationError as error:
                raise ValueError(f"{self.name(key)}: {error}") from None
            except (ClientError, BotoCoreError, Boto3Error, HTTPError, OSError) as error:
                reason = self._final(key, error)
                if reason is not None:
                    raise reason from None
                last = error
            if attempt < ATTEMPTS - 1:
                logger.info("%s: %s; trying again", self.name(key), _short(last))
                time.sleep(min(PAUSE * 2**attempt, LONGEST_PAUSE))
        raise ConnectionError(f"{self.name(key)}: given up after {ATTEMPTS} tries: {_short(last)}") from None

    def _final(self, key: str, error: Exception) -> ValueError | None:
        """The error to raise where trying again is of no use."""
        # What an upload raises hides the server's answer.
        response = getattr(error, "response", None) or getattr(error.__context__, "response", None)
        if not isinstance(response, dict):
            return None
        code, message = (str(response.get("Error", {}).get(name, "")) for name in ("Code", "Message"))
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        named = CHECKSUMS.search(message) and code not in MISMATCHES
        if code == "NotImplemented" or status == 501 or (named and 400 <= status < 500):
            return Unsupported(f"{self.name(key)}: the store does not know this request ({_short(error)})")
        if code == "NoSuchBucket":
            return Missing(f"{self.name(key)}: there is no bucket {self.bucket}; correct `bucket` or `endpoint`")
        if code in ("NoSuchKey", "404", "NotFound"):
            return Missing(f"{self.name(key)} does not exist")
        if code in ("PreconditionFailed", "412"):
            return Changed(self.name(key))
        if code in ("InvalidRange", "416"):
            return ValueError(f"{self.name(key)} is shorter than its listing says, or empty: it is truncated")
        if code in REFUSALS:
            return ValueError(
                f"{self.name(key)}: the server refuses ({code}); check the credentials in the environment"
                " (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_PROFILE), `anonymous`, and that the object exists"
            )
        transient = code in ("SlowDown", "RequestTimeout", "Throttling", "BadDigest", "IncompleteBody")
        if 400 <= status < 500 and status not in (408, 429) and not transient:
            return ValueError(f"{self.name(key)}: {_short(error)}")
        return None


def _short(error: Exception) -> str:
    return str(error).splitlines()[0][:300] if str(error) else type(error).__name__


def read_json(store: Store, key: str, limit: int = 1 << 26) -> Any:
    """An object's JSON. Raises ValueError where it is none."""
    content, facts = store.head(key, limit)
    try:
        if facts.size > limit:
            raise ValueError(f"{facts.size} bytes")
        return json.loads(content)
    except ValueError as error:
        raise ValueError(f"{store.name(key)} is not JSON of the expected kind: {error}") from None
