"""Make one call of the Kubernetes API: its time limit, its errors, its plain answer."""

import functools
import json
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from flopguard_operator.observed import Raw

SECONDS = 10
PLAIN: Mapping[str, Any] = {"_request_timeout": SECONDS, "_preload_content": False}

P = ParamSpec("P")
T = TypeVar("T")


class ClusterError(Exception):
    """The API server refused or did not answer; `status` is 0 where it did not."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def translated(call: Callable[P, T]) -> Callable[P, T]:
    """Turn the client's errors into `ClusterError` with the server's own sentence."""

    @functools.wraps(call)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return call(*args, **kwargs)
        except ApiException as error:
            text = str(error.body or error.reason)[:2000]
            raise ClusterError(int(error.status or 0), text) from error
        except (HTTPError, OSError) as error:
            raise ClusterError(0, f"no answer from the API server: {error}") from error
        except ValueError as error:  # no JSON, or not what the client's models know
            why = f"unreadable answer from the API server: {error}"[:2000]
            raise ClusterError(0, why) from error

    return wrapper


def plain(answer: Any) -> Raw:
    """Return the JSON object of an answer that was not turned into a model.

    Raises:
        ValueError: It is none.
    """
    found = json.loads(answer.data)
    if not isinstance(found, Mapping):
        message = "not a JSON object"
        raise ValueError(message)  # noqa: TRY004 - as for what is not JSON
    return found


def status_of(error: Exception) -> int:
    """Return the HTTP status of an error of the client; 0 where it is another error."""
    return int(error.status or 0) if isinstance(error, ApiException) else 0
