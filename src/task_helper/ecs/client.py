"""botocore's clients, the variables that they heed, and their failures in the helper's own words.

The texts of botocore's errors are never passed on: they repeat URLs, one of which gives away the task role's
credentials, and bodies of answers. Any failure in here is an OSError, which means that AWS cannot be seen.
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

# A call is given up before the next look is due; looks are repeated anyway, so calls are not.
CONFIG: Final = Config(connect_timeout=2, read_timeout=3, retries={"total_max_attempts": 1})

# ECS gives the task's credentials with these
_OF_ECS: Final = frozenset(
    {
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    }
)

# what a task without a role may have instead
_KEYS: Final = frozenset({"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"})

# where the APIs are, and how the network leads there
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

# files with certificate authorities
_BUNDLES: Final = frozenset({"AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"})

# the first that fits; botocore's own texts are not for the log
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


class Denied(OSError):
    """The task's role may not make the call."""


class Clients(NamedTuple):
    """botocore's clients for both APIs."""

    ecs: Any
    cloud_map: Any


def connect(region: str) -> Clients:
    """Clients for the APIs of `region`, without a call to them; raises OSError where they cannot be set up."""
    drop_variables_of_others(os.environ)
    with _in_own_words("AWS's client"):
        session = Session()
        return Clients(
            *(session.create_client(name, region_name=region, config=CONFIG) for name in ("ecs", "servicediscovery"))
        )


def drop_variables_of_others(environ: MutableMapping[str, str]) -> None:
    """Remove from `environ` the variables of AWS's SDKs that are meant for the application (docs/use/auto.md).

    A task definition often gives all containers the same ones. A profile or a file that only the application's
    container has, or the endpoint of another service, would make the helper's calls fail. Where ECS gives the task a
    role, keys are the application's too.
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
    """What AWS answers to a `call` of a client, as `type`; raises OSError, or Denied, which is one."""
    operation = "".join(word.capitalize() for word in call.__name__.split("_"))
    try:
        with _in_own_words(operation):
            answer = call(**arguments)
    except exceptions.ClientError as error:
        code = _code(error)
        kind = Denied if code in ("AccessDeniedException", "AccessDenied") else OSError
        raise kind(f"{operation}: {code}") from error
    try:
        return msgspec.convert(answer, type)
    except msgspec.ValidationError as error:
        raise OSError(f"{operation}: AWS answered what its API does not say") from error


@contextmanager
def _in_own_words(what: str) -> Iterator[None]:
    """Make an OSError of whatever botocore raises, but for what AWS has answered.

    Not only BotoCoreError: a malformed URL is a ValueError, for one. The helper has no code of its own in here.
    """
    try:
        yield
    except exceptions.ClientError:
        raise
    except Exception as error:
        words = next((words for kind, words in _WORDS if isinstance(error, kind)), "it failed")
        raise OSError(f"{what}: {words} ({type(error).__name__})") from error


def _code(error: exceptions.ClientError) -> str:
    """The code of AWS's error. Another program than AWS may have answered, so that it may be any text."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    return code if code.isascii() and code.isalnum() and len(code) <= 64 else "an error without a code"


def date_of(headers: dict[str, str]) -> datetime:
    """When AWS answered, by its own clock, to the second; by this machine's where the answer does not say it."""
    try:
        return parsedate_to_datetime(headers["date"]).astimezone(timezone.utc)
    except (KeyError, ValueError):
        return datetime.now(timezone.utc)
