"""Waits for a run without a worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_weir import api
from airflow_provider_weir.hooks import WeirHook


class WeirRunTrigger(BaseTrigger):
    """Fires when a run has ended, or the deadline has passed; tells the run's log meanwhile.

    :param run_id: the run.
    :param after: the last line of its log that was told before.
    :param deadline: seconds since 1970; None: it waits as long as it takes.
    :param cancel_on_kill: whether the run is stopped when somebody marks or clears the waiting task.
    """

    def __init__(
        self,
        run_id: str,
        weir_conn_id: str = WeirHook.default_conn_name,
        tenant: str | None = None,
        poll_interval_secs: float = 5.0,
        after: int = 0,
        deadline: float | None = None,
        cancel_on_kill: bool = True,
    ):
        super().__init__()
        self.run_id = run_id
        self.weir_conn_id = weir_conn_id
        self.tenant = tenant
        self.poll_interval_secs = poll_interval_secs
        self.after = after
        self.deadline = deadline
        self.cancel_on_kill = cancel_on_kill

    def serialize(self) -> tuple[str, dict[str, Any]]:
        names = ("run_id", "weir_conn_id", "tenant", "poll_interval_secs", "after", "deadline", "cancel_on_kill")
        return f"{type(self).__module__}.{type(self).__qualname__}", {name: getattr(self, name) for name in names}

    async def _server(self) -> api.AsyncApi:
        return await WeirHook(self.weir_conn_id, self.tenant).aget_conn()

    def _tell(self, level: str, text: str) -> None:
        getattr(self.log, level if level in ("debug", "warning", "error") else "info")("%s", text)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        try:
            server = await self._server()
            while True:
                status, self.after = await server.follow(self.run_id, self.after, self._tell)
                late = self.deadline is not None and time.time() >= self.deadline
                if status in api.ENDED or late:
                    yield TriggerEvent({"run_id": self.run_id, "status": status, "after": self.after})
                    return
                left = float("inf") if self.deadline is None else max(0.0, self.deadline - time.time())
                await asyncio.sleep(min(self.poll_interval_secs, left))
        except (api.WeirError, ValueError) as error:
            yield TriggerEvent({"run_id": self.run_id, "error": str(error), "after": self.after})

    async def on_kill(self) -> None:
        """Somebody marked or cleared the task that waits."""
        if self.cancel_on_kill:
            await (await self._server()).ask(api.cancel(self.run_id))
