#!/usr/bin/env python3
"""Makes golden.ndjson again: what a real Debezium says about changes.sql, one {"topic", "key", "value"} per line. A line with "schemas" stands before the first record
of each topic and holds the schemas of keys and values, which are the same in all records.

Usage: golden.py. It needs Java 17 and Maven; servers and downloads are those of bench/cdc.py. Nothing is normalised here: the test does that on both sides.
"""
import json, os, pathlib, shutil, subprocess, sys, tempfile, time, urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[5] / "bench"))
os.environ.setdefault("BENCH_CDC_HOME", tempfile.mkdtemp(prefix="weir-golden-"))
os.chmod(os.environ["BENCH_CDC_HOME"], 0o755)
from cdc import PY, Debezium, Server

PORT, CONTROLLER, REST, PG = "29192", "29193", "28083", 25996
TOPICS = ["golden.public.kinds", "golden.public.plain", "golden.public.strict", "golden.public.whole"]
READ = """
import json, sys, time
from confluent_kafka import Consumer, TopicPartition
consumer = Consumer({'bootstrap.servers': '127.0.0.1:%s', 'group.id': 'golden', 'enable.auto.commit': False})
out, limit = [], time.monotonic() + float(sys.argv[2])
topics = sys.argv[3].split(',')
consumer.assign([TopicPartition(topic, 0, 0) for topic in topics])
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


def main():
    setup, changes = (HERE / "changes.sql").read_text().split("-- changes\n")
    server = Server("golden", PG).start()
    work = pathlib.Path(tempfile.mkdtemp(prefix="weir-golden-kafka-"))
    try:
        server.fresh()
        server.sql(setup)
        golden = Golden(work)
        with golden.running():
            golden.rest("/connectors", {"name": "golden", "config": {
                "connector.class": "io.debezium.connector.postgresql.PostgresConnector", "database.hostname": "127.0.0.1", "database.port": str(PG),
                "database.user": "postgres", "database.password": "x", "database.dbname": "bench", "topic.prefix": "golden", "plugin.name": "pgoutput",
                "table.include.list": "public.kinds,public.plain,public.strict,public.whole", "skipped.operations": "none", "include.unknown.datatypes": "true", "decimal.handling.mode": "precise"}})
            snapshot = golden.read(5, 120)
            if len(snapshot) != 5:
                raise RuntimeError(f"{len(snapshot)} records of the snapshot; {golden.answers('/connectors/golden/status')}")
            limit = time.monotonic() + 60
            while server.sql("SELECT count(*) FROM pg_replication_slots WHERE active") != "1":
                if time.monotonic() > limit:
                    raise RuntimeError("Debezium does not stream")
                time.sleep(0.5)
            server.sql(changes)
            records = golden.read(1000, 25)
            print(golden.answers("/connectors/golden/status"), file=sys.stderr)
        records.sort(key=lambda record: (record["topic"], record["offset"]))
        with open(HERE / "golden.ndjson", "w") as out:
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
        print(len(records), "records")
    finally:
        server.stop(False)
        shutil.rmtree(os.environ["BENCH_CDC_HOME"], ignore_errors=True)
        shutil.rmtree(work, ignore_errors=True)


main()
