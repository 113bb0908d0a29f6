"""What Airflow reads to know the provider."""

from __future__ import annotations

from typing import Any

from airflow_provider_weir import __version__

INTEGRATION = "Weir"


def get_provider_info() -> dict[str, Any]:
    def module(name: str) -> list[dict[str, Any]]:
        return [{"integration-name": INTEGRATION, "python-modules": [f"airflow_provider_weir.{name}"]}]

    return {
        "package-name": "airflow-provider-weir",
        "name": "Weir",
        "description": "Runs jobs of a Weir server and waits for them.",
        "versions": [__version__],
        "integrations": [{"integration-name": INTEGRATION, "tags": ["service"]}],
        "hooks": module("hooks"),
        "operators": module("operators"),
        "sensors": module("sensors"),
        "triggers": module("triggers"),
        "connection-types": [
            {
                "connection-type": "weir",
                "hook-name": "Weir",
                "hook-class-name": "airflow_provider_weir.hooks.WeirHook",
                "ui-field-behaviour": {
                    "hidden-fields": ["login"],
                    "relabeling": {"host": "Server", "password": "Token", "schema": "http or https"},
                    "placeholders": {"host": "weir.example.com", "schema": "https"},
                },
                "conn-fields": {
                    "tenant": {"label": "Tenant", "schema": {"type": ["string", "null"]}},
                    "verify": {"label": "CA file, or false", "schema": {"type": ["string", "boolean", "null"]}},
                    "timeout_secs": {"label": "Seconds per request", "schema": {"type": ["number", "null"]}},
                    "retry_secs": {"label": "Seconds to try again", "schema": {"type": ["number", "null"]}},
                },
            }
        ],
    }
