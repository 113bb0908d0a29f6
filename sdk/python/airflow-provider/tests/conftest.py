import json

import pytest
from stub import Stub


@pytest.fixture
def stub(monkeypatch):
    server = Stub()
    extra = {"retry_secs": 20, "timeout_secs": 5}
    connection = {"conn_type": "weir", "host": "127.0.0.1", "schema": "http", "port": server.port, "password": "weir_secret", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_WEIR_DEFAULT", json.dumps(connection))
    monkeypatch.setattr("airflow_provider_weir.api.FIRST_PAUSE_SECS", 0.01)
    yield server
    server.close()
