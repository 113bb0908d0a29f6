"""Operator, trigger and sensors as Airflow calls them, without Airflow's processes."""

import asyncio
import json
import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import airflow
import jsonschema
import pytest
from airflow.exceptions import TaskDeferred
from airflow.providers.common.compat.sdk import AirflowException
from airflow_provider_weir import hooks
from airflow_provider_weir.get_provider_info import get_provider_info
from airflow_provider_weir.operators import WeirRunJobOperator, key_of
from airflow_provider_weir.sensors import WeirJobSensor, WeirRunSensor
from airflow_provider_weir.triggers import WeirRunTrigger


def context(task=None, try_number=1, max_tries=0, retries=0):
    pushed = {}
    task = task or SimpleNamespace(retries=retries)
    ti = SimpleNamespace(dag_id="d", run_id="manual", task_id="t", map_index=-1, try_number=try_number, max_tries=max_tries, task=task)
    ti.xcom_push = lambda key, value: pushed.update({key: value})
    return {"ti": ti, "pushed": pushed}


def operator(**given):
    return WeirRunJobOperator(task_id="t", job="orders", poll_interval_secs=0.01, **{"deferrable": False, **given})


def test_a_run_is_waited_for_and_its_counts_are_given(stub):
    stub.states = ["queued", "running", "succeeded"]
    task, around = operator(), context()
    told = task.execute(around)
    assert (told["run_id"], told["status"], told["rows_read"], told["rows_written"]) == ("r1", "succeeded", 3, 2)
    assert around["pushed"] == {"run_id": "r1"}
    assert len(stub.asked("GET", "/logs")) == 3


def test_a_failed_run_fails_the_task_with_its_reason(stub):
    stub.states = ["failed"]
    with pytest.raises(AirflowException, match=r"r1 of orders failed: the server went away \(WEIR-X-001\); look after it"):
        operator().execute(context())


def test_a_try_that_is_repeated_finds_the_run_of_the_try_before(stub):
    stub.states = ["running"]
    task = operator(wait_for_completion=False)
    assert task.execute(context())["run_id"] == "r1"
    stub.states = ["succeeded"]
    assert operator().execute(context(try_number=2))["run_id"] == "r1"
    # It has succeeded, and nobody knew.
    assert operator().execute(context(try_number=3))["run_id"] == "r1"
    assert list(stub.runs) == ["r1"]


def test_after_a_failed_run_a_try_starts_one_more(stub):
    stub.states = ["failed"]
    for tries, expected in [(1, "r1"), (2, "r2"), (3, "r3")]:
        with pytest.raises(AirflowException, match=f"run {expected} "):
            operator().execute(context(try_number=tries))
    # Its third try was killed before it could say so: the fourth finds the successor that the third has started.
    stub.end("r3", "running")
    stub.states = ["succeeded"]
    assert operator().execute(context(try_number=4))["run_id"] == "r3"
    assert list(stub.runs) == ["r1", "r2", "r3"]


def test_the_key_is_of_the_task_and_of_how_often_it_was_cleared():
    assert key_of(context(try_number=1, max_tries=2, retries=2)) == key_of(context(try_number=3, max_tries=2, retries=2))
    # Airflow: max_tries = try_number + retries when a task is cleared.
    assert key_of(context(try_number=4, max_tries=5, retries=2)) != key_of(context(try_number=3, max_tries=2, retries=2))
    assert len(key_of(context())) < 160


def test_a_kill_stops_the_run_unless_it_may_go_on(stub):
    stub.states = ["running"]
    task = operator(wait_for_completion=False)
    task.execute(context())
    task.on_kill()
    assert stub.runs["r1"]["status"] == "cancelled"
    task = operator(wait_for_completion=False, cancel_on_kill=False, idempotency_key="mine")
    task.execute(context())
    task.on_kill()
    assert (stub.runs["r2"]["status"], stub.keys["mine"]) == ("queued", "r2")
    operator().on_kill()


def deferred(task, around):
    with pytest.raises(TaskDeferred) as told:
        task.execute(around)
    return told.value


def fired(trigger):
    async def first():
        async for event in trigger.run():
            return event.payload

    return asyncio.run(first())


def test_deferred_it_waits_in_the_trigger(stub):
    stub.states = ["queued", "running", "succeeded"]
    task, around = operator(deferrable=True), context()
    told = deferred(task, around)
    assert around["pushed"] == {"run_id": "r1"}
    path, arguments = told.trigger.serialize()
    assert path == "airflow_provider_weir.triggers.WeirRunTrigger"
    event = fired(WeirRunTrigger(**arguments))
    assert event == {"run_id": "r1", "status": "succeeded", "after": 3}
    # Another process goes on.
    assert getattr(operator(deferrable=True), told.method_name)(context(), event)["rows_written"] == 2


def test_deferred_it_keeps_to_the_execution_timeout(stub):
    stub.states = ["running"]
    task = operator(deferrable=True, execution_timeout=timedelta(seconds=0.2))
    trigger = deferred(task, context()).trigger
    assert 0 < trigger.deadline - time.time() <= 0.2
    event = fired(trigger)
    assert event["status"] == "running"
    with pytest.raises(AirflowException, match="took longer"):
        operator().execute_complete(context(), event)
    assert stub.runs["r1"]["status"] == "cancelled"


def test_a_trigger_that_cannot_ask_says_so(stub):
    stub.fails = [(403, {"detail": "not for you"}, {})]
    event = fired(WeirRunTrigger("r1"))
    assert "not for you" in event["error"]
    with pytest.raises(AirflowException, match="not for you"):
        operator().execute_complete(context(), event)


def test_a_deferred_task_that_is_killed_stops_the_run(stub):
    stub.states = ["running"]
    trigger = deferred(operator(deferrable=True), context()).trigger
    asyncio.run(trigger.on_kill())
    assert stub.runs["r1"]["status"] == "cancelled"
    stub.end("r1", "running")
    asyncio.run(WeirRunTrigger("r1", cancel_on_kill=False).on_kill())
    assert stub.runs["r1"]["status"] == "running"


def test_a_sensor_waits_for_a_run(stub):
    stub.states = ["running"]
    operator(wait_for_completion=False).execute(context())
    sensor = WeirRunSensor(task_id="s", run_id="r1", deferrable=False)
    assert not sensor.poke(context()).is_done
    stub.end("r1", "succeeded")
    assert sensor.poke(context()).xcom_value["rows_read"] == 3
    stub.end("r1", "cancelled")
    with pytest.raises(AirflowException, match="r1 of orders cancelled"):
        sensor.poke(context())


def test_a_sensor_waits_without_a_worker(stub):
    stub.states = ["running", "succeeded"]
    operator(wait_for_completion=False).execute(context())
    sensor = WeirRunSensor(task_id="s", run_id="r1", deferrable=True, poke_interval=0.01)
    told = deferred(sensor, context())
    assert not told.trigger.cancel_on_kill
    assert sensor.execute_complete(context(), fired(told.trigger))["run_id"] == "r1"


def test_a_sensor_waits_for_any_new_run_of_a_job(stub):
    sensor = WeirJobSensor(task_id="s", job="orders", since="2026-01-01T02:00:00+02:00")
    operator(wait_for_completion=False).execute(context())
    assert not sensor.poke(context()).is_done
    stub.end("r1", "succeeded")
    assert sensor.poke(context()).xcom_value["run_id"] == "r1"
    assert stub.requests[-1]["params"] == {"status": "succeeded", "since": "2026-01-01T00:00:00Z", "limit": "1"}
    with pytest.raises(AirflowException, match="no zone"):
        WeirJobSensor(task_id="s2", job="orders", since="2026-01-01T02:00:00").poke(context())


def test_a_connection_is_read(stub):
    made = hooks.WeirHook().get_conn().server
    assert (made.url, made.token, made.retry_secs) == (f"http://127.0.0.1:{stub.port}", "weir_secret", 20)
    assert hooks.WeirHook().test_connection() == (True, "airflow (operator) of tenant default")
    assert hooks.WeirHook(tenant="acme").test_connection()[1].endswith("tenant acme")
    whole = SimpleNamespace(conn_id="c", host="https://weir.example/", port=None, schema=None, password="", extra_dejson={"tenant": "t"})
    assert hooks.server_of(whole) == hooks.api.Server("https://weir.example/", token=None, tenant="t")


def test_the_provider_is_what_airflow_expects():
    schema = json.loads((Path(airflow.__file__).parent / "provider_info.schema.json").read_text())
    info = get_provider_info()
    jsonschema.validate(info, schema)
    assert info["connection-types"][0]["hook-class-name"] == f"{hooks.WeirHook.__module__}.WeirHook"
    assert info["connection-types"][0]["connection-type"] == hooks.WeirHook.conn_type
