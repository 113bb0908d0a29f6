import asyncio

import pytest
from airflow_provider_weir import api

BUSY = (503, {"detail": "drained", "code": "WEIR-API-503"}, {})


def server(stub, **given):
    return api.Server(f"http://127.0.0.1:{stub.port}", token="weir_secret", **{"retry_secs": 20, **given})


def test_a_read_is_tried_again_until_it_succeeds(stub):
    stub.fails = [BUSY, "drop", (429, {}, {})]
    assert api.Api(server(stub)).ask(api.Ask("GET", "/api/v1/me"))["name"] == "airflow"
    assert len(stub.requests) == 4


def test_a_start_is_tried_again_with_its_key_and_starts_one_run(stub):
    # The second answer is lost after the run was started.
    stub.fails = [BUSY, "drop", (409, {"code": "WEIR-API-032"}, {"Retry-After": "0"})]
    run, before = api.Api(server(stub)).start("j1", "k")
    assert (run["id"], before, list(stub.runs)) == ("r1", True, ["r1"])
    assert {request["headers"]["Idempotency-Key"] for request in stub.asked("POST", "/run")} == {"k"}


def test_a_change_without_a_key_is_sent_once(stub):
    stub.fails = [BUSY]
    with pytest.raises(api.WeirError) as refused:
        api.Api(server(stub)).ask(api.Ask("POST", "/api/v1/jobs/j1/run"))
    assert (refused.value.status, refused.value.code, len(stub.requests)) == (503, "WEIR-API-503", 1)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422])
def test_a_refusal_is_final_and_says_why(stub, status):
    stub.fails = [(status, {"detail": "not for you", "code": "WEIR-API-001", "hint": "ask an admin"}, {})]
    with pytest.raises(api.WeirError, match=rf"{status} not for you \(WEIR-API-001\); ask an admin"):
        api.Api(server(stub)).ask(api.Ask("GET", "/api/v1/me"))
    assert len(stub.requests) == 1


def test_patience_ends(stub):
    stub.fails = [BUSY] * 1000
    with pytest.raises(api.WeirError, match="503 drained"):
        api.Api(server(stub, retry_secs=0.1)).ask(api.Ask("GET", "/api/v1/me"))
    assert 1 < len(stub.requests) < 50


def test_retry_after_is_honoured_or_given_up(stub):
    stub.fails = [(503, {}, {"Retry-After": "60"})]
    with pytest.raises(api.WeirError):
        api.Api(server(stub)).ask(api.Ask("GET", "/api/v1/me"))
    assert len(stub.requests) == 1


def test_nobody_there_is_told():
    nobody = api.Server("http://127.0.0.1:9", retry_secs=0)
    with pytest.raises(api.WeirError, match="does not answer"):
        api.Api(nobody).ask(api.Ask("GET", "/api/v1/me"))


def test_a_redirect_does_not_get_the_token(stub):
    stub.fails = [(307, {}, {"Location": f"http://127.0.0.1:{stub.port}/elsewhere"})]
    with pytest.raises(api.WeirError, match="307"):
        api.Api(server(stub)).ask(api.Ask("GET", "/api/v1/me"))
    assert len(stub.requests) == 1


def test_who_asks_is_sent_and_the_token_is_not_shown(stub):
    known = server(stub, tenant="acme")
    api.Api(known).ask(api.Ask("GET", "/api/v1/me"))
    headers = stub.requests[0]["headers"]
    assert (headers["Authorization"], headers["X-Tenant-Id"]) == ("Bearer weir_secret", "acme")
    assert "weir_secret" not in repr(known)


def test_a_job_is_found_by_id_and_by_its_whole_name(stub):
    server_ = api.Api(server(stub))
    assert [server_.job_id(job) for job in ("j2", "orders", "load orders")] == ["j2", "j2", "j1"]
    with pytest.raises(api.WeirError, match="no job `load`"):
        server_.job_id("load")


def test_the_loop_asks_as_the_other_does(stub):
    stub.fails = [BUSY, "drop"]
    run, _ = api.Api(server(stub)).start("j1", "k")
    lines = []
    stub.fails = [BUSY]
    told = asyncio.run(api.AsyncApi(server(stub)).follow(run["id"], 1, lambda level, text: lines.append((level, text))))
    assert told == ("succeeded", 3)
    assert lines == [("info", "2026-01-01T00:00:00Z line 2"), ("info", "2026-01-01T00:00:00Z line 3")]


def test_counts_are_summed_over_streams():
    stream = {"rows_read": 3, "rows_written": 2, "bytes_read": 9}
    told = api.counts({"id": "r", "status": "succeeded", "streams": [stream, stream]})
    assert (told["rows_read"], told["rows_written"], told["rows_dead"], told["bytes_read"]) == (6, 4, 0, 18)
