"""What is asked of a Weir server, blocking and not.

A request is sent again only when that cannot do anything twice: it reads, or it is a POST with an ``Idempotency-Key``, whose first answer the
server keeps for 24 hours. It is sent again after a broken connection, 408, 429 and 5xx, and while the first one is still being worked on
(``WEIR-API-032``); ``Retry-After`` is honoured.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx

ENDED = frozenset({"succeeded", "failed", "cancelled", "skipped"})
PAGE = 500
FIRST_PAUSE_SECS = 0.5
LONGEST_PAUSE_SECS = 30.0
JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
COUNTS = ("rows_read", "rows_written", "rows_filtered", "rows_dead", "bytes_read", "bytes_written")


class WeirError(Exception):
    """The server refused, or could not be asked: ``code`` is its stable code, if it said one."""

    def __init__(self, message: str, status: int | None = None, code: str | None = None):
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True)
class Server:
    """Where the server is and who asks."""

    url: str
    #: Not needed by a server in development.
    token: str | None = None
    #: Act for this tenant; for platform-admins only.
    tenant: str | None = None
    #: A file with certificates, or False: any certificate.
    verify: str | bool = True
    timeout_secs: float = 30.0
    #: How long a request is tried again.
    retry_secs: float = 300.0

    def options(self) -> dict[str, Any]:
        headers = {"Accept": "application/json", "User-Agent": "airflow-provider-weir"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        if self.tenant:
            headers["X-Tenant-Id"] = self.tenant
        # Redirects are not followed: the token is for this server only.
        return {"base_url": self.url, "headers": headers, "verify": self.verify, "timeout": self.timeout_secs}

    def __repr__(self) -> str:
        return f"Server({self.url!r}, tenant={self.tenant!r})"


@dataclass(frozen=True)
class Ask:
    """One request."""

    method: str
    path: str
    params: dict[str, Any] | None = None
    key: str | None = None

    def arguments(self) -> dict[str, Any]:
        headers = {"Idempotency-Key": self.key} if self.key else {}
        return {"method": self.method, "url": self.path, "params": self.params, "headers": headers}

    def may_be_sent_again(self) -> bool:
        return self.method == "GET" or self.key is not None


class Patience:
    """Decides about the next try of a request, and how long to wait before it."""

    def __init__(self, ask: Ask, retry_secs: float):
        self.ask = ask
        self.ends = time.monotonic() + retry_secs
        self.tries = 0

    def answered(self, response: httpx.Response) -> float | None:
        """None: this is the answer; else the pause in seconds."""
        if response.is_success:
            return None
        working = response.status_code == 409 and problem(response).get("code") == "WEIR-API-032"
        if not (working or response.status_code in (408, 429) or response.status_code >= 500):
            return None
        return self.pause(response.headers.get("Retry-After"))

    def pause(self, retry_after: str | None = None) -> float | None:
        self.tries += 1
        longest = min(LONGEST_PAUSE_SECS, FIRST_PAUSE_SECS * 2 ** min(self.tries - 1, 10))
        pause = random.uniform(longest / 2, longest)
        if retry_after and retry_after.isdigit():
            pause = max(pause, float(retry_after))
        if not self.ask.may_be_sent_again() or time.monotonic() + pause > self.ends:
            return None
        return pause


def problem(response: httpx.Response) -> dict[str, Any]:
    """The problem that the server told, if it told one."""
    try:
        told = response.json()
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def content(ask: Ask, response: httpx.Response) -> Any:
    """The JSON of an answer.

    :raises WeirError: anything but a success.
    """
    if response.is_success:
        try:
            return response.json()
        except ValueError as error:
            raise WeirError(f"{ask.method} {ask.path}: the answer is no JSON; is this a Weir server?", response.status_code) from error
    told = problem(response)
    code, detail, hint = told.get("code"), told.get("detail") or response.reason_phrase, told.get("hint")
    message = f"{ask.method} {ask.path}: {response.status_code} {detail}"
    if code:
        message = f"{message} ({code})"
    if hint:
        message = f"{message}; {hint}"
    raise WeirError(message, response.status_code, code)


def unreachable(ask: Ask, error: httpx.TransportError) -> WeirError:
    return WeirError(f"{ask.method} {ask.path}: the server does not answer: {error or type(error).__name__}")


def start(job_id: str, key: str) -> Ask:
    return Ask("POST", f"/api/v1/jobs/{quote(job_id, safe='')}/run", key=key)


def get_run(run_id: str) -> Ask:
    return Ask("GET", f"/api/v1/runs/{quote(run_id, safe='')}")


def cancel(run_id: str) -> Ask:
    # Asked twice it is stopped once: the key only says that it may be asked again.
    return Ask("POST", f"/api/v1/runs/{quote(run_id, safe='')}/cancel", key=f"cancel-{run_id}")


def logs(run_id: str, after: int) -> Ask:
    return Ask("GET", f"/api/v1/runs/{quote(run_id, safe='')}/logs", params={"after": after, "limit": PAGE})


def counts(run: dict[str, Any]) -> dict[str, Any]:
    """What a task gives on: the run's identity, its sums, and the counts of each stream."""
    streams = run.get("streams") or []
    sums = {name: sum(stream.get(name) or 0 for stream in streams) for name in COUNTS}
    kept = {name: run.get(name) for name in ("job_id", "job_name", "job_version", "status", "attempt", "started_at", "ended_at")}
    return {"run_id": run["id"], **kept, **sums, "streams": streams}


def why(run: dict[str, Any]) -> str:
    """Why a run did not succeed, for people."""
    head = f"run {run['id']} of {run.get('job_name') or run.get('job_id')} {run['status']}"
    error = run.get("error")
    if not isinstance(error, dict):
        return head
    parts = [error.get("message"), error.get("place"), error.get("cause")]
    told = ": ".join(str(part) for part in parts if part)
    if error.get("code"):
        told = f"{told} ({error['code']})"
    if error.get("hint"):
        told = f"{told}; {error['hint']}"
    return f"{head}: {told}"


#: Takes the level and the text of a line.
Tell = Callable[[str, str], None]


def read_page(page: dict[str, Any], tell: Tell) -> tuple[str, int, bool]:
    """Tells the lines of a page; where the run stood, where to go on, and whether that was all."""
    for line in page["items"]:
        tell(line["level"], f"{line['at']} {line['message']}")
    return page["run_status"], page["next_after"], len(page["items"]) < PAGE


class Api:
    """A server, asked and waited for."""

    def __init__(self, server: Server):
        self.server = server

    @contextmanager
    def _client(self) -> Iterator[httpx.Client]:
        with httpx.Client(**self.server.options()) as client:
            yield client

    def ask(self, ask: Ask) -> Any:
        """The JSON of the answer.

        :raises WeirError: the server refused, or did not answer in time.
        """
        return content(ask, self._send(ask))

    def start(self, job_id: str, key: str) -> tuple[dict[str, Any], bool]:
        """Starts a run once for each key; the run as it was then, and whether it was started before."""
        ask = start(job_id, key)
        response = self._send(ask)
        return content(ask, response), response.headers.get("Idempotent-Replayed") == "true"

    def _send(self, ask: Ask) -> httpx.Response:
        patience = Patience(ask, self.server.retry_secs)
        with self._client() as client:
            while True:
                try:
                    response = client.request(**ask.arguments())
                except httpx.TransportError as error:
                    pause = patience.pause()
                    if pause is None:
                        raise unreachable(ask, error) from error
                else:
                    pause = patience.answered(response)
                    if pause is None:
                        return response
                time.sleep(pause)

    def job_id(self, job: str) -> str:
        """The id of a job, by its id or its name.

        :raises WeirError: there is none.
        """
        if JOB_ID.fullmatch(job):
            try:
                return self.ask(Ask("GET", f"/api/v1/jobs/{job}"))["id"]
            except WeirError as error:
                if error.status != 404:
                    raise
        params: dict[str, Any] = {"name": job, "limit": PAGE}
        while True:
            page = self.ask(Ask("GET", "/api/v1/jobs", params=params))
            for known in page["items"]:
                if known["name"] == job:
                    return known["id"]
            if not page["next_cursor"]:
                raise WeirError(f"there is no job `{job}`", 404)
            params["cursor"] = page["next_cursor"]

    def follow(self, run_id: str, after: int, tell: Tell) -> tuple[str, int]:
        """Tells the lines of a run's log that are new; where the run stands and where to go on."""
        while True:
            status, after, all_told = read_page(self.ask(logs(run_id, after)), tell)
            if all_told:
                return status, after


class AsyncApi:
    """The same, in an event loop: what a trigger asks."""

    def __init__(self, server: Server):
        self.server = server

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[httpx.AsyncClient]:
        async with httpx.AsyncClient(**self.server.options()) as client:
            yield client

    async def ask(self, ask: Ask) -> Any:
        patience = Patience(ask, self.server.retry_secs)
        async with self._client() as client:
            while True:
                try:
                    response = await client.request(**ask.arguments())
                except httpx.TransportError as error:
                    pause = patience.pause()
                    if pause is None:
                        raise unreachable(ask, error) from error
                else:
                    pause = patience.answered(response)
                    if pause is None:
                        return content(ask, response)
                await asyncio.sleep(pause)

    async def follow(self, run_id: str, after: int, tell: Tell) -> tuple[str, int]:
        """See :meth:`Api.follow`."""
        while True:
            status, after, all_told = read_page(await self.ask(logs(run_id, after)), tell)
            if all_told:
                return status, after
