#!/usr/bin/env python3
"""Makes mysql.ndjson and mariadb.ndjson again: what a real Debezium says about changes.sql, one {"topic", "key", "value"} per line. A line with "schemas" stands before the
first record of each topic and holds the schemas of keys and values, which are the same in all records.

Usage: golden.py [mysql] [mariadb]. It needs Java 17 and Maven; servers and downloads are those of bench/cdc.py. Nothing is normalised here: the test does that on both sides.
"""
import json, pathlib, shutil, subprocess, sys, tempfile, time, urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[6] / "bench"))
from cdc import PY, Debezium
from mysql_server import MysqlServer

PORT, CONTROLLER, REST, DB = "29292", "29293", "28183", 26096
TOPICS = ["golden.bench.kinds", "golden.bench.plain", "golden.bench.strict"]
READ = """
import json, sys, time
from confluent_kafka import Consumer, TopicPartition
consumer = Consumer({'bootstrap.servers': '127.0.0.1:%s', 'group.id': 'golden', 'enable.auto.commit': False})
out, limit = [], time.monotonic() + float(sys.argv[2])
consumer.assign([TopicPartition(topic, 0, 0) for topic in sys.argv[3].split(',')])
while time.monotonic() < limit and len(out) < int(sys.argv[1]):
    message = consumer.poll(1)
    if message is None or message.error(): continue
    load = lambda data: None if data is None else json.loads(data)
    out.append({'topic': message.topic(), 'offset': message.offset(), 'key': load(message.key()), 'value': load(message.value())})
print(json.dumps(out))
""" % PORT


class Golden(Debezium):
    BROKER = Debezium.BROKER.replace("19192", PORT).replace("19193", CONTROLLER)
    WORKER = Debezium.WORKER.replace("19192", PORT).replace("18083", REST).replace("schemas.enable=false", "schemas.enable=true")

    def rest(self, path, body=None):
        request = urllib.request.Request(f"http://127.0.0.1:{REST}{path}", json.dumps(body).encode() if body else None, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or "null")

    def read(self, count, seconds):
        done = subprocess.run([PY, "-c", READ, str(count), str(seconds), ",".join(TOPICS)], capture_output=True, text=True, check=True)
        return json.loads(done.stdout)


def golden(flavor):
    setup, changes = (HERE / "changes.sql").read_text().split("-- changes\n")
    home = pathlib.Path(tempfile.mkdtemp(prefix="weir-golden-"))
    home.chmod(0o755)
    server = MysqlServer(flavor, DB, home, ["default-time-zone=+02:00"]).start()
    try:
        server.sql("SET time_zone = '+00:00';" + setup)
        debezium = Golden(home)
        with debezium.running():
            debezium.rest("/connectors", {"name": "golden", "config": debezium.mysql_config(server, "golden", f"127.0.0.1:{PORT}") | {
                "table.include.list": "bench.kinds,bench.plain,bench.strict", "skipped.operations": "none", "snapshot.mode": "initial", "tombstones.on.delete": "true"}})
            snapshot = debezium.read(4, 120)
            if len(snapshot) != 4:
                raise RuntimeError(f"{len(snapshot)} records of the snapshot; {debezium.answers('/connectors/golden/status')}")
            limit = time.monotonic() + 60
            while "Binlog Dump" not in server.sql("SHOW PROCESSLIST"):
                if time.monotonic() > limit:
                    raise RuntimeError("Debezium does not stream")
                time.sleep(0.5)
            server.sql("SET time_zone = '+00:00';" + changes)
            records = debezium.read(1000, 25)
            print(debezium.answers("/connectors/golden/status"), file=sys.stderr)
        records.sort(key=lambda record: (record["topic"], record["offset"]))
        with open(HERE / f"{flavor}.ndjson", "w") as out:
            line = lambda value: out.write(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n")
            for topic in TOPICS:
                of = [record for record in records if record["topic"] == topic]
                schemas = [{record[part]["schema"] is not None and json.dumps(record[part]["schema"]) for record in of if record[part] is not None} for part in ("key", "value")]
                if [len(each) for each in schemas] != [1, 1]:
                    raise RuntimeError(f"the schema of {topic} is not always the same")
                key, value = (json.loads(each.pop()) for each in schemas)
                line({"topic": topic, "schemas": {"key": key, "value": value}})
                for record in of:
                    payload = lambda part: record[part] and record[part]["payload"]
                    line({"topic": topic, "key": payload("key"), "value": payload("value")})
        print(flavor, len(records), "records")
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)


for flavor in sys.argv[1:] or ["mysql", "mariadb"]:
    golden(flavor)
