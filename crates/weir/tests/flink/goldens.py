#!/usr/bin/env python3
"""Writes what a real Flink answers to the cases of this folder: `expected.ndjson`, and `expected.streaming.ndjson` where its stream gives other rows.

Usage: cargo xtask service start flink    (says the address of the SQL gateway)
       crates/weir/tests/flink/goldens.py http://127.0.0.1:PORT [CASE…]

A case's `flink.sql` is tables, with `@NAME@` for the options of the file NAME.ndjson, and one query. It runs in batch and as a stream (both over the same
file, so the stream ends and closes all windows). The changes of a stream are added up. Flink alone gives the answers; nothing here computes.
"""
import decimal
import json
import pathlib
import re
import sys
import time
import urllib.error
import urllib.request

CASES = pathlib.Path(__file__).resolve().parent / "cases"
SETTINGS = {
    "execution.target": "local",
    "parallelism.default": "1",
    # A watermark goes out with every row that moves it, so which rows are late does not depend on the clock.
    "pipeline.auto-watermark-interval": "1 ms",
}


class Refused(Exception):
    """Flink does not run the query."""


def call(gateway, method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(gateway + path, method=method, data=data, headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=300) as answer:
            return json.loads(answer.read().decode(), parse_float=decimal.Decimal)
    except urllib.error.HTTPError as error:
        told = json.loads(error.read().decode())["errors"][-1]
        causes = [line for line in told.splitlines() if line.startswith("Caused by")]
        raise Refused(causes[-1] if causes else told[:400]) from None


def ask(gateway, statements, mode, zone):
    """The columns and the changes that the last statement gives."""
    properties = SETTINGS | {"execution.runtime-mode": mode, "table.local-time-zone": zone}
    session = call(gateway, "POST", "/v1/sessions", {"properties": properties})["sessionHandle"]
    try:
        for statement in statements:
            operation = call(gateway, "POST", f"/v1/sessions/{session}/statements", {"statement": statement})["operationHandle"]
            following, columns, changes = f"/v1/sessions/{session}/operations/{operation}/result/0", [], []
            while following:
                answer = call(gateway, "GET", following)
                if answer["resultType"] == "NOT_READY":
                    time.sleep(0.05)
                    continue
                columns = answer["results"].get("columns", columns)
                changes += answer["results"]["data"]
                following = answer.get("nextResultUri")
        return [column["name"] for column in columns], changes
    finally:
        call(gateway, "DELETE", f"/v1/sessions/{session}")


def cell(value):
    """A number with a fraction keeps its digits, written out (`20`, not `2E+1`)."""
    return format(value, "f") if isinstance(value, decimal.Decimal) else json.dumps(value, ensure_ascii=False)


def rows(columns, changes):
    """The rows that are there after all changes, in one order."""
    held = []
    for change in changes:
        row = "{" + ",".join(f"{json.dumps(name)}:{cell(value)}" for name, value in zip(columns, change["fields"])) + "}"
        if change["kind"] in ("INSERT", "UPDATE_AFTER"):
            held.append(row)
        else:
            held.remove(row)
    return sorted(held)


def options(folder, name):
    path = (folder / f"{name}.ndjson").as_uri()
    return f"'connector' = 'filesystem', 'path' = '{path}', 'format' = 'json', 'json.timestamp-format.standard' = 'ISO-8601'"


def write(path, lines):
    path.write_text("".join(line + "\n" for line in lines))


def make(gateway, folder):
    zone = json.loads((folder / "case.json").read_text()).get("flink_zone", "UTC")
    sql = re.sub(r"@(\w+)@", lambda found: options(folder, found[1]), (folder / "flink.sql").read_text())
    sql = "\n".join(line for line in sql.splitlines() if not line.startswith("--"))
    statements = [part.strip() for part in sql.split(";\n") if part.strip().rstrip(";")]
    statements[-1] = statements[-1].rstrip(";")
    given = {}
    for mode in ("batch", "streaming"):
        try:
            given[mode] = rows(*ask(gateway, statements, mode, zone))
        except Refused as refused:
            print(f"  {mode}: {refused}")
    if not given:
        sys.exit(f"{folder.name}: Flink runs it in neither way")
    whole, stream = folder / "expected.ndjson", folder / "expected.streaming.ndjson"
    write(whole, given.get("batch", given.get("streaming")))
    stream.unlink(missing_ok=True)
    if "streaming" in given and given.get("batch", given["streaming"]) != given["streaming"]:
        write(stream, given["streaming"])
    print(f"{folder.name}: {', '.join(f'{len(found)} rows in {mode}' for mode, found in given.items())}", flush=True)


def main():
    gateway, names = sys.argv[1].rstrip("/"), sys.argv[2:]
    for folder in sorted(CASES.iterdir()):
        if folder.is_dir() and (not names or folder.name in names):
            make(gateway, folder)


if __name__ == "__main__":
    main()
