"""An HTTP client of the API server that outlives its restarts: whoever watches others must not fail with them."""

import ssl
import time

import httpx

PAUSE_SECONDS = 0.1
PATIENCE_SECONDS = 60.0
AWAY = {429, 500, 502, 503, 504}


class PatientTransport(httpx.BaseTransport):
    """Asks again while nobody answers to the end; watches that are cut are the caller's own matter."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self.transport = httpx.HTTPTransport(verify=tls, limits=httpx.Limits(max_connections=None))

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """The first answer that is one.

        What was asked before without an answer may have been done: an object that is there by then was made, one that
        is not was deleted.
        """
        deadline, is_again = time.monotonic() + PATIENCE_SECONDS, False
        while True:
            try:
                reply = self.transport.handle_request(request)
                if "watch" not in request.url.params:
                    reply.read()
            except httpx.TransportError:
                if time.monotonic() > deadline:
                    raise
            else:
                if is_again and (request.method, reply.status_code) in {("POST", 409), ("DELETE", 404)}:
                    return httpx.Response(200, json={})
                if reply.status_code not in AWAY or time.monotonic() > deadline:
                    return reply
                reply.close()
            is_again = True
            time.sleep(PAUSE_SECONDS)

    def close(self) -> None:
        """Close all connections."""
        self.transport.close()


def patient_client(url: str, tls: ssl.SSLContext) -> httpx.Client:
    """A client, to be closed."""
    return httpx.Client(base_url=url, transport=PatientTransport(tls), timeout=30.0, trust_env=False)
