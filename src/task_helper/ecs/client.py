"""botocore's clients, the variables that they read, and their failures in the helper's own words.

The texts of botocore's errors are never passed on. They repeat bodies of answers and URLs, one of which reveals the
task role's credentials. Every failure here is an OSError: the helper cannot query AWS.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
from botocore import exceptions
from botocore.config import Config
from botocore.parsers import ResponseParserError
from botocore.session import Session

T = TypeVar("T")

# A call times out before the next look is due. Looks are repeated, so the calls themselves are not.
CONFIG: Final = Config(connect_timeout=2, read_timeout=3, retries={"total_max_attempts": 1})

# ECS provides the task's credentials with these variables
_OF_ECS: Final = frozenset(
    {
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    }
)

# a task without a role may have these variables instead
_KEYS: Final = frozenset({"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"})

# the addresses of the APIs, and the way of the network to them
_OF_THE_NETWORK: Final = frozenset(
    {
        "AWS_ENDPOINT_URL_ECS",
        "AWS_ENDPOINT_URL_SERVICEDISCOVERY",
        "AWS_DISABLE_HOST_PREFIX_INJECTION",
        "AWS_USE_DUALSTACK_ENDPOINT",
        "AWS_USE_FIPS_ENDPOINT",
        "AWS_EC2_METADATA_DISABLED",
    }
)

# paths of files with certificate authorities
_BUNDLES: Final = frozenset({"AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"})

# The first type that matches counts. botocore's own texts must not be logged.
_WORDS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (exceptions.NoCredentialsError, "the task has no role and no other credentials"),
    (exceptions.CredentialRetrievalError, "the credentials of the task's role cannot be read"),
    (exceptions.MetadataRetrievalError, "the credentials of the task's role cannot be read"),
    (exceptions.PartialCredentialsError, "the credentials in the environment are not complete"),
    (exceptions.ConnectTimeoutError, "no connection in time"),
    (exceptions.ReadTimeoutError, "no answer in time"),
    (exceptions.ProxyConnectionError, "the proxy cannot be reached"),
    (exceptions.SSLError, "TLS failed"),
    (exceptions.EndpointConnectionError, "could not connect"),
    (exceptions.HTTPClientError, "the connection failed"),
    (ResponseParserError, "the answer cannot be read"),
)


class AccessDenied(OSError):
    """The task's role does not allow the call."""


class Clients(NamedTuple):
    """botocore's clients for both APIs."""

    ecs: Any
    cloud_map: Any


def connect(region: str) -> Clients:
    """Clients for the APIs of `region`, without any call. Raises OSError if they cannot be created."""
    drop_variables_of_others(os.environ)
    with _in_own_words("AWS's client"):
        session = Session()
        return Clients(
            *(session.create_client(name, region_name=region, config=CONFIG) for name in ("ecs", "servicediscovery"))
        )


def drop_variables_of_others(environ: MutableMapping[str, str]) -> None:
    """Remove from `environ` the variables of AWS's SDKs that are meant for the application (docs/use/auto.md).

    A task definition often gives all containers the same variables. The helper's calls would fail with a profile or a
    file that only the application's container has, or with the endpoint of another service. If ECS provides a role for
    the task, keys are meant for the application too.
    """
    kept = _OF_ECS | _OF_THE_NETWORK
    if not _OF_ECS & environ.keys():
        kept |= _KEYS
    kept |= {name for name in _BUNDLES & environ.keys() if os.path.exists(environ[name])}
    for name in [name for name in environ if name.startswith("AWS_") or name in _BUNDLES]:
        if name not in kept:
            del environ[name]
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        environ[name] = os.devnull


def ask(call: Callable[..., dict[str, Any]], type: type[T], **arguments: Any) -> T:
    """AWS's answer to a `call` of a client, as `type`. Raises OSError, or AccessDenied, which is an OSError."""
    operation = "".join(word.capitalize() for word in call.__name__.split("_"))
    try:
        with _in_own_words(operation):
            answer = call(**arguments)
    except exceptions.ClientError as error:
        code = _code(error)
        kind = AccessDenied if code in ("AccessDeniedException", "AccessDenied") else OSError
        raise kind(f"{operation}: {code}") from error
    try:
        return msgspec.convert(answer, type)
    except msgspec.ValidationError as error:
        raise OSError(f"{operation}: the answer does not match AWS's API") from error


@contextmanager
def _in_own_words(what: str) -> Iterator[None]:
    """Turn every exception of botocore into an OSError, except errors that AWS answered (ClientError).

    Not only BotoCoreError: a malformed URL raises ValueError, for example. The helper runs no code of its own in here.
    """
    try:
        yield
    except exceptions.ClientError:
        raise
    except Exception as error:
        words = next((words for kind, words in _WORDS if isinstance(error, kind)), "the call failed")
        raise OSError(f"{what}: {words} ({type(error).__name__})") from error


def _code(error: exceptions.ClientError) -> str:
    """The code in AWS's error answer. Another program than AWS may have answered, so the code may be any text."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    return code if code.isascii() and code.isalnum() and len(code) <= 64 else "an error without a code"


def date_of(headers: dict[str, str]) -> datetime:
    """When AWS answered, by AWS's clock, to the second. If the answer has no date, by this machine's clock."""
    try:
        return parsedate_to_datetime(headers["date"]).astimezone(timezone.utc)
    except (KeyError, ValueError):
        return datetime.now(timezone.utc)
