"""Reads what the API server answers."""

from typing import Any

import httpx

from testbed.programs.commands import TestbedError


def answer(response: httpx.Response) -> Any:
    """The object that was answered; TestbedError with the API server's reason if it refused."""
    body = response.json() if "json" in response.headers.get("content-type", "") else {"message": response.text}
    if response.is_success:
        return body
    raise TestbedError(f"{response.request.method} {response.url.path}: {response.status_code} {body.get('message')}")


def found(response: httpx.Response) -> Any | None:
    """The object that was answered, or None where there is none."""
    return None if response.status_code == httpx.codes.NOT_FOUND else answer(response)
