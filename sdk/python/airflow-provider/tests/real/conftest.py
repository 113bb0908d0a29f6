from contextlib import closing

import pytest
from servers import Airflow, Pages, Weir


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("real")


@pytest.fixture(scope="session")
def pages():
    with closing(Pages()) as served:
        yield served


@pytest.fixture(scope="session")
def weir(folder, pages):
    server = Weir(folder, pages)
    yield server
    server.program.stop()


@pytest.fixture(scope="session")
def airflow(folder, weir):
    server = Airflow(folder, weir)
    yield server
    server.program.stop()


@pytest.fixture(scope="session")
def begun(airflow, weir):
    """All DAGs are triggered at once: what takes time is Airflow's, and most of it is waiting."""
    return {
        "weir_run": airflow.trigger("weir_run"),
        "weir_deferred": airflow.trigger("weir_deferred"),
        "weir_fails": airflow.trigger("weir_fails"),
        "weir_retried": airflow.trigger("weir_retried"),
        "weir_killed": airflow.trigger("weir_killed"),
        "weir_killed_deferred": airflow.trigger("weir_killed_deferred"),
        "exported": airflow.trigger("weir_exported"),
        "exported_broken": airflow.trigger("weir_exported_broken"),
        "plain_http": airflow.trigger("plain_http", {"job_id": weir.jobs["copy"]}),
    }
