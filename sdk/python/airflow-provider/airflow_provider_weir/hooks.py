"""A connection of Airflow as a Weir server."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseHook

from airflow_provider_weir import api


def server_of(connection: Any, tenant: str | None = None) -> api.Server:
    """The server of a connection: host (perhaps with scheme), port, the token as password; in `extra`: tenant, verify, timeout_secs, retry_secs."""
    host = connection.host or ""
    if not host:
        raise ValueError(f"connection `{connection.conn_id}` has no host")
    if "://" not in host:
        host = f"{connection.schema or 'https'}://{host}"
    if connection.port:
        host = f"{host.rstrip('/')}:{connection.port}"
    extra = connection.extra_dejson
    given = {name: extra[name] for name in ("verify", "timeout_secs", "retry_secs") if extra.get(name) is not None}
    return api.Server(host, token=connection.password or None, tenant=tenant or extra.get("tenant") or None, **given)


class WeirHook(BaseHook):
    """Asks a Weir server.

    :param weir_conn_id: the connection.
    :param tenant: act for this tenant instead of the connection's; for platform-admins only.
    """

    conn_name_attr = "weir_conn_id"
    default_conn_name = "weir_default"
    conn_type = "weir"
    hook_name = "Weir"

    def __init__(self, weir_conn_id: str = default_conn_name, tenant: str | None = None):
        super().__init__()
        self.weir_conn_id = weir_conn_id
        self.tenant = tenant

    def get_conn(self) -> api.Api:
        """The server, to be asked and waited for."""
        return api.Api(server_of(self.get_connection(self.weir_conn_id), self.tenant))

    async def aget_conn(self) -> api.AsyncApi:
        """The server, to be asked in an event loop."""
        return api.AsyncApi(server_of(await self.aget_connection(self.weir_conn_id), self.tenant))

    def test_connection(self) -> tuple[bool, str]:
        """Says who asks; for the button of Airflow's pages."""
        try:
            me = self.get_conn().ask(api.Ask("GET", "/api/v1/me"))
        except (api.WeirError, ValueError) as error:
            return False, str(error)
        return True, f"{me['name']} ({me['role']}) of tenant {me['tenant_id']}"

    def start_run(self, job: str, key: str) -> dict[str, Any]:
        """Starts a run of a job (its id or its name), once for each key within 24 hours; the run as it was then."""
        server = self.get_conn()
        return server.start(server.job_id(job), key)[0]

    def get_run(self, run_id: str) -> dict[str, Any]:
        """The run, with its counts and, at the end, its report."""
        return self.get_conn().ask(api.get_run(run_id))

    def cancel_run(self, run_id: str) -> dict[str, Any]:
        """Asks a run to stop; its checkpoint is kept."""
        return self.get_conn().ask(api.cancel(run_id))
