#!/usr/bin/env python3
"""Streams out of Kafka: Weir beside its floor, librdkafka's own benchmark program, and beside Flink SQL and SeaTunnel, in one run.

Usage: bench/stream.py [parquet|kafka|window|latency|all] [--records 1000000] [--reps 3] [--partitions 2] [--seconds 30] [--rate 10000] [--peers flink,seatunnel]

parquet   records of 1 KB JSON that wait in a topic into Parquet files (snappy, as the peers write them), exactly once, against `rdkafka_performance` as a consumer
          of the same topic. Beside its wall time stands the rate that it reports itself, which leaves out its start.
kafka     the same records into another topic, in transactions, against `rdkafka_performance` as a producer of as many records of that size; nobody
          compresses, because that program's records are all the same byte.
window    a count by key over tumbling seconds of event time, a million keys, a million records to the second; both sides read the records as JSON out of
          Kafka and throw the results away.
latency   so many records a second for so long: from the producer's clock to the moment a reader has them out of the target topic, measured by
          `rdkafka_performance -l` on both sides; without Weir between them (the floor), at least once, and in transactions (`read_committed`).

The broker is a Kafka of the bench's own on the same cores as everything else (`cargo xtask service install kafka` brings it). `rdkafka_performance` is compiled from the
sources of librdkafka that Weir's own client is made of, with its library. Wall time, CPU seconds and peak memory come from the kernel (wait4). Before a time counts
every record must be there: rows of the files, records of the topic. Results go to bench/results/.
"""
import argparse, contextlib, datetime, json, os, pathlib, platform, re, signal, subprocess, sys, time

from run import CACHE, HERE, PY, ROOT, VENV, WEIR, fresh, measure
from stream_peers import Flink, SeaTunnel

KAFKA = CACHE / "kafka-4.3.1" / "libs"
PORT = int(os.environ.get("BENCH_KAFKA_PORT", "19292"))
BROKER = f"127.0.0.1:{PORT}"
PROPERTIES = """process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={dir}/data
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
"""
LOG = """<Configuration status="WARN"><Appenders><Console name="C" target="SYSTEM_ERR"><PatternLayout pattern="[%d] %p %m (%c)%n"/></Console></Appenders>
<Loggers><Root level="info"><AppenderRef ref="C"/></Root></Loggers></Configuration>"""
COLUMNS = "{id: bigint, account: text, region: text, amount: double, quantity: int, status: text, at: timestamp, note: text}"
# About 1 KB each; numbers and words differ, so that nothing compresses to nothing.
PRODUCE = """
import sys, json, random
from confluent_kafka import Producer
topic, count, broker = sys.argv[1], int(sys.argv[2]), sys.argv[3]
producer = Producer({'bootstrap.servers': broker, 'linger.ms': 20, 'compression.type': 'none', 'queue.buffering.max.messages': 200000, 'queue.buffering.max.kbytes': 400000})
draw = random.Random(7)
words = [''.join(draw.choice('etaoinshrdlucmfw') for _ in range(draw.randrange(2, 11))) for _ in range(5000)]
letters = ' '.join(draw.choice(words) for _ in range(200000))
for i in range(count):
    at = draw.randrange(1000000)
    value = '{"id":%d,"account":"acc-%06d","region":"%s","amount":%.2f,"quantity":%d,"status":"open","at":"2026-11-22T%02d:%02d:%02d.%03d","note":"%s"}' % (
        i, draw.randrange(1000000), ('eu', 'us', 'ap')[i % 3], draw.random() * 10000, draw.randrange(100), i // 3600000 % 24, i // 60000 % 60, i // 1000 % 60, i % 1000, letters[at:at + 850])
    while True:
        try: producer.produce(topic, value, key=b'%d' % (i % 1000)); break
        except BufferError: producer.poll(0.1)
    if i % 1000 == 0: producer.poll(0)
producer.flush()
"""
COUNT = """
import sys, json
from confluent_kafka import Consumer, TopicPartition
topic, broker, wanted = sys.argv[1], sys.argv[2], int(sys.argv[3])
consumer = Consumer({'bootstrap.servers': broker, 'group.id': 'count', 'enable.auto.commit': False, 'isolation.level': 'read_committed', 'enable.partition.eof': True})
parts = list(consumer.list_topics(topic).topics[topic].partitions)
consumer.assign([TopicPartition(topic, part, 0) for part in parts])
seen, total, open_parts = bytearray(wanted), 0, set(parts)
while open_parts:
    for message in consumer.consume(10000, 5):
        if message.error(): open_parts.discard(message.partition()); continue
        seen[json.loads(message.value())['id']] += 1; total += 1
print(total, sum(1 for n in seen if n != 1))
"""


# The keys of a second are a permutation: each comes once, in no order that helps.
CLICKS = """
import sys
from confluent_kafka import Producer
topic, count, broker = sys.argv[1], int(sys.argv[2]), sys.argv[3]
producer = Producer({'bootstrap.servers': broker, 'linger.ms': 20, 'compression.type': 'lz4', 'queue.buffering.max.messages': 1000000, 'queue.buffering.max.kbytes': 400000})
for i in range(count):
    value = b'{"k":%d,"at":"2026-11-22T%02d:%02d:%02d.%03d"}' % (i * 7368787 % 1000000, i // 3600000000 % 24, i // 60000000 % 60, i // 1000000 % 60, i // 1000 % 1000)
    while True:
        try: producer.produce(topic, value, partition=i % 2); break
        except BufferError: producer.poll(0.1)
    if i % 10000 == 0: producer.poll(0)
producer.flush()
"""



def say(text):
    print(f"{datetime.datetime.now():%H:%M:%S} {text}", file=sys.stderr, flush=True)


def median(values):
    return sorted(values)[len(values) // 2]


def python(code, *words):
    return subprocess.run([PY, "-c", code, *map(str, words)], capture_output=True, text=True, check=True).stdout.strip()


class Broker:
    def __init__(self, work):
        self.work = work

    def tool(self, *words):
        return subprocess.run(["java", f"-Dlog4j2.configurationFile={self.work}/log4j2.xml", "-cp", f"{KAFKA}/*", *words], cwd=self.work, capture_output=True, text=True, check=True)

    def topic(self, name, partitions):
        self.tool("org.apache.kafka.tools.TopicCommand", "--bootstrap-server", BROKER, "--create", "--topic", name, "--partitions", str(partitions))
        return name

    def drop(self, *names):
        for name in names:
            self.tool("org.apache.kafka.tools.TopicCommand", "--bootstrap-server", BROKER, "--delete", "--topic", name)

    @contextlib.contextmanager
    def running(self):
        fresh(self.work).mkdir(parents=True)
        (self.work / "server.properties").write_text(PROPERTIES.format(dir=self.work, port=PORT, controller=PORT + 1))
        (self.work / "log4j2.xml").write_text(LOG)
        self.tool("kafka.tools.StorageTool", "format", "-t", "wAirWeirBenchQ0x1Mnpw", "-c", "server.properties")
        log = open(self.work / "broker.log", "wb")
        process = subprocess.Popen(["java", "-Xms1G", "-Xmx1G", "-server", "-XX:+UseG1GC", f"-Dlog4j2.configurationFile={self.work}/log4j2.xml", "-cp", f"{KAFKA}/*", "kafka.Kafka", "server.properties"],
                                   cwd=self.work, stdout=log, stderr=log)
        try:
            limit = time.monotonic() + 180
            while "Kafka Server started" not in (self.work / "broker.log").read_text(errors="replace"):
                if process.poll() is not None or time.monotonic() > limit:
                    raise RuntimeError(f"the broker does not come up, see {self.work}/broker.log")
                time.sleep(0.2)
            yield self
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def rdkafka_performance():
    """librdkafka's own benchmark, with the library that was built for Weir."""
    out = CACHE / "rdkafka_performance"
    if out.exists():
        return str(out)
    target = pathlib.Path(WEIR).resolve().parent
    built = sorted(target.glob("build/rdkafka-sys-*/out"), key=lambda path: path.stat().st_mtime)
    libraries = [path for path in built if list(path.glob("**/librdkafka.a"))]
    sources = sorted(pathlib.Path(os.environ.get("CARGO_HOME", pathlib.Path.home() / ".cargo")).glob("registry/src/*/rdkafka-sys-*/librdkafka"))
    if not libraries or not sources:
        raise RuntimeError("librdkafka was not built for this program: build `weir` with the feature `kafka`")
    library, source = next(libraries[-1].glob("**/librdkafka.a")), sources[-1]
    # The sources ask for `../config.h`, which the build has made elsewhere: a folder beside it leads there.
    settings = next(libraries[-1].glob("**/config.h")).parent / "dummy"
    settings.mkdir(exist_ok=True)
    zstd = list(target.glob("build/zstd-sys-*/out/libzstd.a"))
    subprocess.run(["cc", "-O2", "-o", str(out), str(source / "examples/rdkafka_performance.c"), f"-I{source}/src", f"-I{settings}", str(library), *map(str, zstd[:1]), "-lssl", "-lcrypto", "-lz", "-lpthread", "-lm", "-ldl", "-lrt"],
                   check=True)
    return str(out)


def pipeline(work, name, text):
    state = fresh(work / f"state-{name}")
    file = work / f"{name}.yaml"
    file.write_text(f"pipeline: {name}\nmode: streaming\n{text}")
    return [WEIR, "run", "--progress", "none", "--state-dir", str(state), str(file)]


def source(topic, columns=COLUMNS):
    return f"source: {{kafka: {{bootstrap_servers: '{BROKER}', topic: {topic}, columns: {columns}, only_columns: true}}}}\n"


def rows_of(folder):
    """Rows of all Parquet files that a reader would take; Flink's have no ending."""
    code = """
import sys, pathlib, pyarrow.parquet as p
root = pathlib.Path(sys.argv[1])
files = [f for f in root.rglob('*') if f.is_file() and not any(part[0] in '._' for part in f.relative_to(root).parts)]
print(sum(p.ParquetFile(f).metadata.num_rows for f in files))
"""
    return int(python(code, folder))


def throughput(broker, work, case, args, topic):
    """Weir and its floor in turn."""
    figures = {}

    def keep(name, figure):
        figure["records_per_s"] = round(args.records / figure["wall_s"])
        figures.setdefault(name, []).append(figure)
        say(f"  {case:8} {name:20} {figure['wall_s']:7.2f} s  {figure['records_per_s']:9} records/s  cpu {figure['cpu_s']:6.2f} s  {figure['rss_mb']:6.0f} MB")

    floor = rdkafka_performance()
    if case == "kafka":
        # The first transaction of a broker waits seconds for the topics that it keeps them in.
        few = broker.topic("few", args.partitions)
        python(PRODUCE, few, 1000, BROKER)
        measure(pipeline(work, "first", source(few) + f"sink: {{kafka: {{bootstrap_servers: '{BROKER}', topic: {broker.topic('few_copied', args.partitions)}}}}}\n") + ["--until-caught-up"])
    for rep in range(args.reps):
        if case == "parquet":
            with open(work / "floor.out", "wb") as said:
                figure = measure([floor, "-G", f"floor-{rep}", "-t", topic, "-b", BROKER, "-c", str(args.records), "-o", "beginning", "-q"], stdout=said)
            keep("rdkafka_performance", {**figure, "own_records_per_s": own_rate(work / "floor.out")})
            out = fresh(work / "out")
            keep("weir", measure(pipeline(work, f"parquet_{rep}", source(topic) + f"sink: {{file: {{path: '{out}', format: parquet, compression: snappy}}}}\n") + ["--until-caught-up"]))
            if (rows := rows_of(out)) != args.records:
                raise RuntimeError(f"{rows} rows in the files, not {args.records}")
        else:
            into = broker.topic(f"floor_{rep}", args.partitions)
            keep("rdkafka_performance", measure([floor, "-P", "-t", into, "-b", BROKER, "-c", str(args.records), "-s", "1000", "-a", "-1", "-z", "none", "-q"]))
            into = broker.topic(f"target_{rep}", args.partitions)
            keep("weir", measure(pipeline(work, f"kafka_{rep}", source(topic) + f"sink: {{kafka: {{bootstrap_servers: '{BROKER}', topic: {into}, compression: none}}}}\n") + ["--until-caught-up"]))
            total, wrong = map(int, python(COUNT, into, BROKER, args.records).split())
            if (total, wrong) != (args.records, 0):
                raise RuntimeError(f"{total} records in the target, {wrong} of them not once")
            broker.drop(f"floor_{rep}", into)
    for peer in args.peers:
        try:
            figure, target = PEERS[peer](broker, work, case, args, topic)
        except RuntimeError as error:
            say(f"  {case:8} {peer:20} {error}")
            figures[peer] = [{"failed": str(error)}]
            continue
        keep(peer, figure)
        if case == "kafka":
            total, wrong = map(int, python(COUNT, target, BROKER, args.records).split())
        else:
            total, wrong = rows_of(target), 0
        if (total, wrong) != (args.records, 0):
            say(f"  {case:8} {peer:20} has {total} records in its target, {wrong} of them not once: its time counts nothing")
            figures[peer] = [{"arrived": total, "not_once": wrong}]
    return {"case": case, "records": args.records, "partitions": args.partitions, "median": {
        name: {key: median([figure[key] for figure in of]) for key in of[0]} for name, of in figures.items()}, "runs": figures}


def window(broker, work, args):
    """A million keys, a second at a time."""
    topic, count, figures = broker.topic("clicks", 2), args.records * 3, {}
    python(CLICKS, topic, count, BROKER)

    def keep(name, figure):
        figure["records_per_s"] = round(count / figure["wall_s"])
        figures.setdefault(name, []).append(figure)
        say(f"  window   {name:20} {figure['wall_s']:7.2f} s  {figure['records_per_s']:9} records/s  cpu {figure['cpu_s']:6.2f} s  {figure['rss_mb']:6.0f} MB")

    source = f"kafka: {{bootstrap_servers: '{BROKER}', topic: {topic}, columns: {{k: bigint, at: timestamp}}, only_columns: true, event_time: {{column: at, max_lateness_ms: 0}}}}"
    counts = "window: {tumble: 1s, on: at, group_by: [k], select: {n: count(*)}}"
    for rep in range(args.reps):
        text = f"sources: {{clicks: {{{source}}}}}\ntransforms: {{counts: {{input: clicks, {counts}}}}}\nsinks: {{out: {{input: counts, discard: {{}}}}}}\n"
        keep("weir", measure(pipeline(work, f"window_{rep}", text) + ["--until-caught-up"]))
    if "flink" in args.peers:
        with Flink(work / "flink") as cluster:
            cluster.statement(f"CREATE TABLE clicks (k BIGINT, `at` TIMESTAMP(3), WATERMARK FOR `at` AS `at`) WITH ('connector'='kafka','topic'='{topic}','properties.bootstrap.servers'='{BROKER}','format'='json',"
                              "'json.timestamp-format.standard'='ISO-8601','scan.startup.mode'='earliest-offset','scan.bounded.mode'='latest-offset','properties.group.id'='flink-window')")
            cluster.statement("CREATE TABLE target (window_start TIMESTAMP(3), k BIGINT, n BIGINT) WITH ('connector'='blackhole')")
            keep("flink", cluster.measured(lambda: cluster.job("INSERT INTO target SELECT window_start, k, count(*) FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(`at`), INTERVAL '1' SECOND)) GROUP BY window_start, window_end, k")))
    return {"case": "window", "records": count, "keys": 1_000_000, "median": {name: {key: median([figure[key] for figure in of]) for key in of[0]} for name, of in figures.items()}, "runs": figures}


def own_rate(said):
    """The last rate that rdkafka_performance printed, in records a second since its first record."""
    found = re.findall(r"(\d+) msgs/s", said.read_text(errors="replace"))
    return int(found[-1]) if found else 0


def flink(broker, work, case, args, topic):
    columns = "id BIGINT, account STRING, region STRING, amount DOUBLE, quantity INT, status STRING, `at` TIMESTAMP(3), note STRING"
    kafka = lambda name: f"'connector'='kafka','topic'='{name}','properties.bootstrap.servers'='{BROKER}','format'='json','json.timestamp-format.standard'='ISO-8601'"
    out = fresh(work / "flink-out")
    with Flink(work / "flink") as cluster:
        cluster.statement(f"CREATE TABLE waiting ({columns}) WITH ({kafka(topic)},'scan.startup.mode'='earliest-offset','scan.bounded.mode'='latest-offset','properties.group.id'='flink-{case}')")
        if case == "kafka":
            out = broker.topic("target_flink", args.partitions)
            cluster.statement(f"CREATE TABLE target ({columns}) WITH ({kafka(out)},'sink.delivery-guarantee'='exactly-once','sink.transactional-id-prefix'='flink','properties.transaction.timeout.ms'='600000',"
                              "'properties.batch.size'='1000000','properties.linger.ms'='20')")
        else:
            cluster.statement(f"CREATE TABLE target ({columns}) WITH ('connector'='filesystem','path'='file://{out}','format'='parquet')")
        return cluster.measured(lambda: cluster.job("INSERT INTO target SELECT * FROM waiting")), out


def seatunnel(broker, work, case, args, topic):
    fields = {"id": "bigint", "account": "string", "region": "string", "amount": "double", "quantity": "int", "status": "string", "at": "string", "note": "string"}
    source = {"plugin_name": "Kafka", "topic": topic, "bootstrap.servers": BROKER, "consumer.group": f"seatunnel-{case}", "start_mode": "earliest", "format": "json", "schema": {"fields": fields}}
    out = fresh(work / "seatunnel-out")
    if case == "kafka":
        out = broker.topic("target_seatunnel", args.partitions)
        sink = {"plugin_name": "Kafka", "topic": out, "bootstrap.servers": BROKER, "format": "json", "semantics": "EXACTLY_ONCE", "transaction_prefix": "seatunnel", "kafka.config": {"batch.size": "1000000", "linger.ms": "20"}}
    else:
        sink = {"plugin_name": "LocalFile", "path": str(out), "tmp_path": str(work / "seatunnel-tmp"), "file_format_type": "parquet", "parquet_compress_codec": "snappy", "is_enable_transaction": True}
    with SeaTunnel(work / "seatunnel") as node:
        return node.measured(lambda: node.job(f"bench_{case}", source, sink)), out


PEERS = {"flink": flink, "seatunnel": seatunnel}


def meter(work, source, target, args):
    """Milliseconds from the producer's clock to the consumer's, sorted, by `rdkafka_performance` on both sides; the first tenth is left out."""
    floor, count, out = rdkafka_performance(), args.rate * args.seconds, work / "latency.csv"
    consumer = subprocess.Popen([floor, "-C", "-t", target, *(word for part in range(args.partitions) for word in ("-p", str(part))), "-b", BROKER, "-c", str(count), "-l", "-A", str(out), "-o", "end",
                                 "-X", "fetch.wait.max.ms=5", "-X", "isolation.level=read_committed", "-q"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(2)
    subprocess.run([floor, "-P", "-t", source, "-b", BROKER, "-c", str(count), "-s", "200", "-l", "-r", str(args.rate), "-X", "linger.ms=1", "-q"], check=True, stdout=subprocess.DEVNULL)
    try:
        consumer.wait(30)
    except subprocess.TimeoutExpired:
        consumer.send_signal(signal.SIGINT)
        consumer.wait(10)
    took = sorted(int(line) / 1000 for line in out.read_text().split()[count // 10:])
    return {"records": count, "arrived": len(took) + count // 10, "p50_ms": took[len(took) // 2], "p99_ms": took[len(took) * 99 // 100], "max_ms": took[-1]}


def latency(broker, work, guarantee, args):
    topic, target = broker.topic(f"from_{guarantee}", args.partitions), broker.topic(f"to_{guarantee}", args.partitions)
    if guarantee == "floor":
        found = meter(work, topic, topic, args)
    else:
        text = (f"checkpoint_interval_ms: 1000\nsource: {{kafka: {{bootstrap_servers: '{BROKER}', topic: {topic}, format: text}}}}\n"
                f"sink: {{kafka: {{bootstrap_servers: '{BROKER}', topic: {target}, format: csv, guarantee: {guarantee}, linger_ms: 1}}}}\n")
        log = open(work / f"{guarantee}.log", "wb")
        weir = subprocess.Popen(pipeline(work, f"latency_{guarantee}", text), stdout=log, stderr=log)
        try:
            time.sleep(3)
            found = meter(work, topic, target, args)
        finally:
            weir.send_signal(signal.SIGINT)
            weir.wait(60)
    say(f"  latency  {guarantee:15} p50 {found['p50_ms']:.1f} ms  p99 {found['p99_ms']:.1f} ms  {found['arrived']} of {found['records']}")
    return {"case": f"latency {guarantee}", "rate": args.rate, "checkpoint_interval_ms": 1000, **found}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", nargs="?", default="all", choices=["parquet", "kafka", "window", "latency", "all"])
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--reps", type=int, default=3)
    parser.add_argument("--partitions", type=int, default=2)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--rate", type=int, default=10_000)
    parser.add_argument("--peers", type=lambda text: [name for name in text.split(",") if name], default=[])
    args = parser.parse_args()
    if not VENV.exists():
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    if subprocess.run([PY, "-c", "import confluent_kafka, pyarrow"], capture_output=True).returncode:
        subprocess.run([str(VENV / "bin" / "pip"), "install", "--quiet", "-r", str(HERE / "requirements.txt")], check=True)
    work = CACHE / "bench-out" / "stream"
    fresh(work).mkdir(parents=True)
    chosen = lambda name: args.case in (name, "all")
    results, load, failed = [], os.getloadavg()[0], None
    try:
        with Broker(work / "kafka").running() as broker:
            if chosen("parquet") or chosen("kafka"):
                topic = broker.topic("records", args.partitions)
                python(PRODUCE, topic, args.records, BROKER)
                say(f"{args.records} records are there")
                for case in filter(chosen, ("parquet", "kafka")):
                    results.append(throughput(broker, work, case, args, topic))
            if chosen("window"):
                results.append(window(broker, work, args))
            if chosen("latency"):
                for guarantee in ("floor", "at_least_once", "exactly_once"):
                    results.append(latency(broker, work, guarantee, args))
    except Exception as error:  # what was measured is kept
        failed = error
    stamp = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H%MZ")
    machine = {
        "cpus": os.cpu_count(), "processor": next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine()),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1), "kernel": platform.release(), "load_before": load,
    }
    if results:
        out = HERE / "results" / f"stream-{stamp}.json"
        out.write_text(json.dumps({"at": stamp, "machine": machine, "peers": ["rdkafka_performance", *args.peers], "command": sys.argv[1:], "results": results}, indent=1) + "\n")
        print(f"kept in {out.relative_to(ROOT)}")
    if failed:
        raise failed


if __name__ == "__main__":
    main()
