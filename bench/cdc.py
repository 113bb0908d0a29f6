#!/usr/bin/env python3
"""Change data capture out of PostgreSQL, MySQL and MariaDB: Weir beside its floor (`pg_recvlogical`) and a real Debezium on Kafka Connect, in one run.

Usage: bench/cdc.py [backlog|latency|snapshot|all] [--rows 1000000] [--reps 3] [--shapes narrow,wide,mixed] [--no-debezium] [--seconds 60] [--snapshot-rows 6000000] [--source postgres|mysql|mariadb]

backlog   changes that wait behind slots: the time to drain them. Every slot exists before the load, so all read the same log. `narrow` and `wide`
          are inserts, `mixed` is 60 % updates, 30 % inserts and 10 % deletes; transactions have four changes, as pgbench's have. Of MySQL and MariaDB the changes
          wait in the binlog, which all read from the same place.
latency   1,000 transactions a second: from the source's commit to the target's, by the one machine's clock (track_commit_timestamp).
snapshot  a table quiet, and with 1,000 transactions a second on it; both sides are compared at the end.

Source and target are two PostgreSQL 15 of the bench's own (fsync on, wal_level logical), on the same cores as everything else. Two, because the log of one would
hold what is written into the target as well, and who drains last would read it all. Wall time, CPU seconds and peak memory of Weir come from the kernel (wait4). Results go to bench/results/. Java 17 and Maven are needed for Debezium.
"""
import argparse, contextlib, datetime, json, os, pathlib, platform, shutil, signal, subprocess, sys, tempfile, time, urllib.error, urllib.request

from mysql_server import MysqlServer
from run import CACHE, HERE, PY, ROOT, VENV, WEIR, as_postgres, fresh, measure

KAFKA = CACHE / "kafka-4.3.1"
# The newest of each that the registry has.
DEBEZIUM = {"postgres": "3.7.0.Final", "mysql": "3.6.1.Final", "mariadb": "3.5.0.Final"}
PER_TRANSACTION = 4
TABLES = {
    "narrow": "(id bigint PRIMARY KEY, tid int, bid int, aid int, delta int, mtime timestamptz)",
    "wide": "(id bigint PRIMARY KEY, " + ", ".join(
        [f"i{n} int" for n in range(4)] + [f"b{n} bigint" for n in range(4)] + [f"n{n} numeric(12,2)" for n in range(4)] + [f"s{n} text" for n in range(6)]
        + [f"t{n} timestamptz" for n in range(3)] + [f"d{n} date" for n in range(2)] + [f"f{n} double precision" for n in range(2)]) + ")",
}
VALUES = {
    "narrow": "{id}, {id} % 10, {id} % 100, {id} % 100000, {id} % 5000, clock_timestamp()",
    "wide": "{id}, " + ", ".join(
        [f"({{id}} + {n}) % 100000" for n in range(4)] + [f"{{id}} * {n + 7919}" for n in range(4)] + [f"(({{id}} + {n}) % 1000000) / 100.0" for n in range(4)]
        + [f"'text {n} of the row ' || {{id}}" for n in range(6)] + ["clock_timestamp()"] * 3 + [f"date '2026-01-01' + ({{id}} % 365)::int" for _ in range(2)]
        + [f"{{id}} / {n + 3}.0" for n in range(2)]),
}
CORES = os.cpu_count()


def say(text):
    print(f"{datetime.datetime.now():%H:%M:%S} {text}", file=sys.stderr, flush=True)


def median(values):
    return sorted(values)[len(values) // 2]


class Server:
    """A server with one database, `bench`. Its data are thrown away at the end."""

    def __init__(self, name, port):
        self.bin = pathlib.Path("/usr/lib/postgresql/15/bin")
        self.home = pathlib.Path(os.environ.get("BENCH_CDC_HOME", "/tmp/weir-bench-cdc")) / name
        self.port = port
        self.url = f"postgresql://postgres@127.0.0.1:{port}/bench"

    def control(self, *words):
        subprocess.run(as_postgres([str(self.bin / "pg_ctl"), "-D", str(self.home / "data"), "-w", *words]), check=True, stdout=subprocess.DEVNULL)

    def start(self):
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir(parents=True)
        self.home.chmod(0o755)
        if os.getuid() == 0:
            shutil.chown(self.home, "postgres")
        data = self.home / "data"
        subprocess.run(as_postgres([str(self.bin / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]),
                       check=True, stdout=subprocess.DEVNULL)
        with open(data / "postgresql.conf", "a") as conf:
            conf.write(f"listen_addresses='127.0.0.1'\nport={self.port}\nunix_socket_directories='{self.home}'\nshared_buffers=1GB\nmax_wal_size=4GB\n"
                       "checkpoint_timeout=30min\nmax_connections=100\nwal_level=logical\nmax_wal_senders=40\nmax_replication_slots=40\n"
                       "track_commit_timestamp=on\nfsync=on\nsynchronous_commit=on\n")
        self.control("-l", str(self.home / "log"), "start")
        return self

    def stop(self, keep):
        self.control("-m", "fast", "stop")
        if not keep:
            shutil.rmtree(self.home, ignore_errors=True)

    def sql(self, text, database="bench"):
        url = self.url.rsplit("/", 1)[0]
        done = subprocess.run(["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", f"{url}/{database}"], input=text, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{text[:300]}: {done.stderr[-600:]}")
        return done.stdout.strip()

    def drop_slots(self):
        self.sql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots", "postgres")

    def version(self):
        return subprocess.run([str(self.bin / "postgres"), "--version"], capture_output=True, text=True).stdout.strip()

    def fresh(self):
        self.drop_slots()
        self.sql("DROP DATABASE IF EXISTS bench WITH (FORCE)", "postgres")
        self.sql("CREATE DATABASE bench", "postgres")


class Pair:
    """The two servers: where the changes are, and the PostgreSQL that they go into."""

    def __init__(self, port, source):
        home = os.environ.get("BENCH_CDC_HOME", "/tmp/weir-bench-cdc")
        self.source = Server("source", port) if source == "postgres" else MysqlServer(source, port + 2, home)
        self.target = Server("target", port + 1)

    def start(self):
        self.source.start()
        self.target.start()
        return self

    def stop(self, keep):
        self.source.stop(keep)
        self.target.stop(keep)

    def fresh(self):
        self.source.fresh()
        self.target.fresh()

    def same(self, table, copy=None):
        """Count and sum over all rows on both sides; an error if they differ."""
        text = "SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)), 0) FROM {} t"
        ours, theirs = self.source.sql(text.format(table)), self.target.sql(text.format(copy or table))
        if ours != theirs:
            raise RuntimeError(f"the target differs: {ours} at the source, {theirs} in {copy or table}")


class Weir:
    """One pipeline with a state folder of its own."""

    def __init__(self, source, work, name, sink):
        self.state = fresh(work / f"state-{name}")
        self.file = work / f"{name}.yaml"
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(f"pipeline: {name}\nmode: cdc\nsource: {source}\nsink: {sink}\n")

    def command(self, *more):
        return [WEIR, "run", "--json", "--progress", "none", "--state-dir", str(self.state), str(self.file), *more]

    def drain(self):
        """One run to the end of the log, measured, with the rows that it says it wrote."""
        with tempfile.TemporaryFile() as out:
            figure = measure(self.command("--until-caught-up"), stdout=out)
            out.seek(0)
            report = json.loads(out.read())
        figure["rows"] = sum(stream["rows_written"] for stream in report["streams"])
        return figure


def has_discard():
    """A program from before that sink is measured without it, and the table shows the gap."""
    return subprocess.run([WEIR, "connectors", "discard"], capture_output=True).returncode == 0


# ---- backlog ----

LOAD = """CREATE PROCEDURE load(first bigint, total bigint, step int) LANGUAGE plpgsql AS $$ BEGIN
 FOR i IN 0 .. total / step - 1 LOOP INSERT INTO {table} SELECT {values} FROM generate_series(1, step) j; COMMIT; END LOOP; END $$"""
# Of ten changes six are updates, three inserts, one a delete. Deletes go through the lower half of the rows that are there, updates through the upper half.
MIX = """CREATE PROCEDURE mix(base bigint, total bigint, step int) LANGUAGE plpgsql AS $$
DECLARE k bigint := base; d bigint := 0; BEGIN
 FOR n IN 0 .. total - 1 LOOP
  CASE WHEN n % 10 IN (0, 2, 3, 5, 6, 8) THEN UPDATE {table} SET delta = ((delta + n) % 1000000)::int, mtime = clock_timestamp() WHERE id = base / 2 + 1 + (n::bigint * 7919) % (base / 2);
       WHEN n % 10 = 9 THEN d := d + 1; DELETE FROM {table} WHERE id = d;
       ELSE k := k + 1; INSERT INTO {table} SELECT {values}; END CASE;
  IF n % step = step - 1 THEN COMMIT; END IF;
 END LOOP; END $$"""


def backlog(pair, work, shape, rows, reps, debezium):
    table = "wide" if shape == "wide" else "narrow"
    base = rows // 5 if shape == "mixed" else 0
    pair.fresh()
    source, target = pair.source, pair.target
    source.sql(f"CREATE TABLE {table} {TABLES[table]}; CREATE PUBLICATION bench FOR TABLE {table};"
               + LOAD.format(table=table, values=VALUES[table].format(id="(first + i * step + j)")))
    if base:
        source.sql(f"CALL load(0, {base}, 1000);" + MIX.format(table=table, values=VALUES[table].format(id="k")))
    follow = f"{{postgres-cdc: {{url: '{source.url}', tables: [public.{table}]}}}}"
    nulls = [Weir(follow, work, f"null_{rep}", "{discard: {}}") for rep in range(reps)] if has_discard() else []
    into = [Weir(follow, work, f"pg_{rep}", f"{{postgres: {{url: '{target.url}', table: {table}_{rep}}}}}") for rep in range(reps)]
    floors = [f"floor_{rep}" for rep in range(reps)]
    for weir in nulls + into:
        weir.drain()
    for slot in floors + ["debezium"] * bool(debezium):
        source.sql(f"SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')")
    begin = time.perf_counter()
    call = f"CALL mix({base}, {rows}, {PER_TRANSACTION})" if base else f"CALL load(0, {rows}, {PER_TRANSACTION})"
    source.sql(f"SET synchronous_commit = off; {call}")
    source.sql("CHECKPOINT")
    end = source.sql("SELECT pg_current_wal_flush_lsn()")
    say(f"{shape}: {rows} changes loaded in {time.perf_counter() - begin:.1f} s")
    figures = {}

    def keep(name, figure):
        figures.setdefault(name, []).append(figure)
        say(f"  {shape:7} {name:16} {figure['wall_s']:7.2f} s  {rows / figure['wall_s']:9.0f} events/s  cpu {figure.get('cpu_s', 0):6.2f} s  {figure.get('rss_mb', 0):6.0f} MB")

    for rep in range(reps):
        out = fresh(work / "floor.pgoutput")
        keep("pg_recvlogical", measure([str(source.bin / "pg_recvlogical"), "-d", source.url, "-S", floors[rep], "--start", "--no-loop", "-f", str(out), "--endpos", end,
                                        "-o", "proto_version=2", "-o", "binary=true", "-o", "streaming=on", "-o", "publication_names=bench"]))
        out.unlink()
        for name, weir in [("weir_discard", weir) for weir in nulls[rep:rep + 1]] + [("weir_postgres", into[rep])]:
            figure = weir.drain()
            if figure["rows"] != rows:
                raise RuntimeError(f"{name} took {figure['rows']} changes, not {rows}")
            if name == "weir_postgres":
                pair.same(table, f"{table}_{rep}")
                target.sql(f"TRUNCATE {table}_{rep}; CHECKPOINT")
            keep(name, figure)
    if debezium:
        keep("debezium", debezium.drain(debezium.postgres_config(source, table), f"bench.public.{table}", rows))
    return {"case": f"backlog {shape}", "changes": rows, "per_transaction": PER_TRANSACTION, "median": {
        name: {key: median([figure[key] for figure in of]) for key in ("wall_s", "cpu_s", "rss_mb")} | {"events_per_s": round(rows / median([figure["wall_s"] for figure in of]))}
        for name, of in figures.items()}, "runs": figures}


# ---- backlog of MySQL and MariaDB ----

MYSQL_TABLES = {
    "narrow": "(id bigint PRIMARY KEY, tid int, bid int, aid int, delta int, mtime timestamp(6) NULL)",
    "wide": "(id bigint PRIMARY KEY, " + ", ".join(
        [f"i{n} int" for n in range(4)] + [f"b{n} bigint" for n in range(4)] + [f"n{n} decimal(12,2)" for n in range(4)] + [f"s{n} varchar(200)" for n in range(6)]
        + [f"t{n} timestamp(6) NULL" for n in range(3)] + [f"d{n} date" for n in range(2)] + [f"f{n} double" for n in range(2)]) + ")",
}
MYSQL_VALUES = {
    "narrow": "{id}, ({id}) % 10, ({id}) % 100, ({id}) % 100000, ({id}) % 5000, SYSDATE(6)",
    "wide": "{id}, " + ", ".join(
        [f"({{id}} + {n}) % 100000" for n in range(4)] + [f"({{id}}) * {n + 7919}" for n in range(4)] + [f"(({{id}} + {n}) % 1000000) / 100.0" for n in range(4)]
        + [f"concat('text {n} of the row ', {{id}})" for n in range(6)] + ["SYSDATE(6)"] * 3 + ["date '2026-01-01' + INTERVAL (({id}) % 365) DAY"] * 2
        + [f"({{id}}) / {n + 3}.0e0" for n in range(2)]),
}
# What both sides have, in words that both servers understand.
MYSQL_SUMS = {
    "narrow": "count(*), sum(id), sum(tid), sum(bid), sum(aid), sum(delta), count(mtime)",
    "wide": "count(*), sum(id), " + ", ".join([f"sum(i{n}), sum(b{n}), sum(n{n})" for n in range(4)] + [f"sum(char_length(s{n}))" for n in range(6)] + ["count(t0)", "min(d0)", "max(d1)"]),
}
MYSQL_LOAD = """SET sql_log_bin = 0;
DELIMITER $$
CREATE PROCEDURE fill(first bigint, total bigint, step int) BEGIN DECLARE i bigint DEFAULT first; WHILE i < first + total DO
 START TRANSACTION; INSERT INTO {table} VALUES {rows}; COMMIT; SET i = i + step; END WHILE; END $$
"""
MYSQL_MIX = """CREATE PROCEDURE mix(base bigint, total bigint, step int) BEGIN DECLARE n, d bigint DEFAULT 0; DECLARE k bigint DEFAULT base; START TRANSACTION;
 WHILE n < total DO
  IF n % 10 IN (0, 2, 3, 5, 6, 8) THEN UPDATE {table} SET delta = (delta + n + 1) % 1000000, mtime = SYSDATE(6) WHERE id = base DIV 2 + 1 + (n * 7919) % (base DIV 2);
  ELSEIF n % 10 = 9 THEN SET d = d + 1; DELETE FROM {table} WHERE id = d;
  ELSE SET k = k + 1; INSERT INTO {table} VALUES ({values}); END IF;
  IF n % step = step - 1 THEN COMMIT; START TRANSACTION; END IF;
  SET n = n + 1;
 END WHILE; COMMIT; END $$
"""


def backlog_mysql(pair, work, shape, rows, reps, debezium):
    """The same backlog, waiting in a binlog. Debezium reads it from the first event on, and so also the rows that were there before a mix: its rate counts them."""
    table = "wide" if shape == "wide" else "narrow"
    base = rows // 5 if shape == "mixed" else 0
    pair.fresh()
    source, target = pair.source, pair.target
    many = lambda count: ", ".join("(" + MYSQL_VALUES[table].format(id=f"i + {at}") + ")" for at in range(1, count + 1))
    source.sql(f"CREATE TABLE {table} {MYSQL_TABLES[table]}; " + MYSQL_LOAD.format(table=table, rows=many(PER_TRANSACTION))
               + MYSQL_MIX.format(table=table, values=MYSQL_VALUES[table].format(id="k")) * (table == "narrow"))
    quick = "SET GLOBAL sync_binlog = 0; SET GLOBAL innodb_flush_log_at_trx_commit = 2;"
    if base:
        source.sql(f"{quick} CALL fill(0, {base}, {PER_TRANSACTION})")
    follow = f"{{mysql-cdc: {{url: '{source.url}', tables: [bench.{table}]}}}}"
    nulls = [Weir(follow, work, f"null_{rep}", "{discard: {}}") for rep in range(reps)] if has_discard() else []
    into = [Weir(follow, work, f"pg_{rep}", f"{{postgres: {{url: '{target.url}', table: {table}_{rep}}}}}") for rep in range(reps)]
    for weir in nulls + into:
        weir.drain()
    begin = time.perf_counter()
    source.sql(f"{quick} CALL mix({base}, {rows}, {PER_TRANSACTION})" if base else f"{quick} CALL fill(0, {rows}, {PER_TRANSACTION})")
    say(f"{source.flavor} {shape}: {rows} changes loaded in {time.perf_counter() - begin:.1f} s")
    figures = {}

    def keep(name, figure, events=rows):
        figure["events_per_s"] = round(events / figure["wall_s"])
        figures.setdefault(name, []).append(figure)
        say(f"  {shape:7} {name:16} {figure['wall_s']:7.2f} s  {figure['events_per_s']:9} events/s  cpu {figure.get('cpu_s', 0):6.2f} s  {figure.get('rss_mb', 0):6.0f} MB")

    for rep in range(reps):
        for name, weir in [("weir_discard", weir) for weir in nulls[rep:rep + 1]] + [("weir_postgres", into[rep])]:
            figure = weir.drain()
            if figure["rows"] != rows:
                raise RuntimeError(f"{name} took {figure['rows']} changes, not {rows}")
            if name == "weir_postgres":
                ours = source.sql(f"SELECT {MYSQL_SUMS[table]} FROM {table}").split("\t")
                theirs = target.sql(f"SELECT {MYSQL_SUMS[table]} FROM {table}_{rep}").split("|")
                if ours != theirs:
                    raise RuntimeError(f"the target differs: {ours} at the source, {theirs} in {table}_{rep}")
                target.sql(f"TRUNCATE {table}_{rep}; CHECKPOINT")
            keep(name, figure)
    if debezium:
        config = debezium.mysql_config(source, "bench", "127.0.0.1:19192") | {
            "table.include.list": f"bench.{table}", "snapshot.mode": "configuration_based", "snapshot.mode.configuration.based.start.stream": "true",
            "schema.history.internal.skip.unparseable.ddl": "true"}
        keep("debezium", debezium.drain(config, f"bench.bench.{table}", base + rows), base + rows)
    return {"case": f"backlog {source.flavor} {shape}", "changes": rows, "per_transaction": PER_TRANSACTION, "median": {
        name: {key: median([figure[key] for figure in of]) for key in ("wall_s", "cpu_s", "rss_mb", "events_per_s")} for name, of in figures.items()}, "runs": figures}


# ---- Debezium ----

class Debezium:
    """A broker and a Connect worker, each for one drain after the other. Downloads and unpacked jars stay in the cache."""

    BROKER = """process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:19193
listeners=PLAINTEXT://127.0.0.1:19192,CONTROLLER://127.0.0.1:19193
advertised.listeners=PLAINTEXT://127.0.0.1:19192
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={dir}/data
num.partitions=1
log.message.timestamp.type=LogAppendTime
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.num.partitions=2
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
"""
    WORKER = """bootstrap.servers=127.0.0.1:19192
group.id=bench
listeners=http://127.0.0.1:18083
rest.advertised.host.name=127.0.0.1
rest.advertised.port=18083
key.converter=org.apache.kafka.connect.json.JsonConverter
value.converter=org.apache.kafka.connect.json.JsonConverter
key.converter.schemas.enable=false
value.converter.schemas.enable=false
offset.storage.topic=connect-offsets
offset.storage.replication.factor=1
offset.storage.partitions=1
config.storage.topic=connect-configs
config.storage.replication.factor=1
status.storage.topic=connect-status
status.storage.replication.factor=1
status.storage.partitions=1
plugin.path={plugins}
plugin.discovery=service_load
scheduled.rebalance.max.delay.ms=0
"""
    LOG = """<Configuration status="WARN"><Appenders><Console name="C" target="SYSTEM_ERR"><PatternLayout pattern="[%d] %p %m (%c)%n"/></Console></Appenders>
<Loggers><Root level="info"><AppenderRef ref="C"/></Root></Loggers></Configuration>"""
    POM = """<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion><groupId>bench</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>
<dependencies>{}<dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.25.4</version></dependency></dependencies></project>"""
    # As Kafka's own start scripts have them, the heaps below too.
    JVM = ["-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent"]
    # Watches the end of the topic from outside, then looks at the first and the last record's time of arrival in the log.
    WATCH = """
import json, sys, time
from confluent_kafka import Consumer, TopicPartition, KafkaException
topic, wanted, patience = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
consumer = Consumer({'bootstrap.servers': '127.0.0.1:19192', 'group.id': 'bench-watch', 'enable.auto.commit': False, 'fetch.wait.max.ms': 100})
end, limit, seen = 0, time.monotonic() + patience, []
while end < wanted:
    if time.monotonic() > limit: sys.exit(f'only {end} of {wanted} records in {topic}')
    try: end = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=5)[1]
    except KafkaException: end = 0
    seen.append((time.time(), end)); time.sleep(0.5)
def arrived(offset):
    consumer.assign([TopicPartition(topic, 0, offset)])
    while True:
        message = consumer.poll(10)
        if message is not None and not message.error(): return message.timestamp()[1] / 1000, len(message.value())
(first, _), (last, size) = arrived(0), arrived(end - 1)
# The best tenth second after tenth second: what it does once the JVM is warm.
warm = max((b[1] - a[1]) / (b[0] - a[0]) for a, b in zip(seen, seen[10:])) if len(seen) > 10 else None
print(json.dumps({'records': end, 'wall_s': last - first, 'warm_events_per_s': warm, 'value_bytes': size}))
"""

    def __init__(self, work):
        self.work = work / "kafka"
        self.install()

    def install(self):
        KAFKA.mkdir(parents=True, exist_ok=True)
        maven = ["mvn", "-B", "-ntp", "-q"]
        if not (KAFKA / "libs").exists():
            names = [("kafka_2.13", "4.3.1"), ("kafka-tools", "4.3.1"), ("connect-runtime", "4.3.1"), ("connect-json", "4.3.1")]
            (KAFKA / "pom.xml").write_text(self.POM.format("".join(
                f"<dependency><groupId>org.apache.kafka</groupId><artifactId>{name}</artifactId><version>{version}</version></dependency>" for name, version in names)))
            subprocess.run(maven + ["dependency:copy-dependencies", "-DoutputDirectory=libs", "-DincludeScope=runtime"], cwd=KAFKA, check=True)
        for system, version in DEBEZIUM.items():
            plugin = KAFKA / "plugins" / f"debezium-connector-{system}"
            if plugin.exists():
                continue
            subprocess.run(maven + ["org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy", f"-Dartifact=io.debezium:debezium-connector-{system}:{version}:tar.gz:plugin",
                                    "-DoutputDirectory=."], cwd=KAFKA, check=True)
            plugin.parent.mkdir(exist_ok=True)
            subprocess.run(["tar", "xzf", f"debezium-connector-{system}-{version}-plugin.tar.gz", "-C", str(plugin.parent)], cwd=KAFKA, check=True)
        if subprocess.run([PY, "-c", "import confluent_kafka"], capture_output=True).returncode:
            subprocess.run([str(VENV / "bin" / "pip"), "install", "--quiet", "-r", str(HERE / "requirements.txt")], check=True)

    def java(self, name, *words):
        log = open(self.work / f"{name}.log", "wb")
        return subprocess.Popen(["java", f"-Dlog4j2.configurationFile={self.work}/log4j2.xml", "-cp", f"{KAFKA}/libs/*", *words], cwd=self.work, stdout=log, stderr=log)

    def until(self, what, ready, process, patience=180):
        limit = time.monotonic() + patience
        while not ready():
            if process.poll() is not None or time.monotonic() > limit:
                raise RuntimeError(f"{what} does not come up, see {self.work}")
            time.sleep(0.3)

    def rest(self, path, body=None):
        request = urllib.request.Request(f"http://127.0.0.1:18083{path}", json.dumps(body).encode() if body else None, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or "null")

    def answers(self, path):
        try:
            return self.rest(path)
        except OSError:
            return None

    @contextlib.contextmanager
    def running(self):
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        (self.work / "server.properties").write_text(self.BROKER.format(dir=self.work))
        (self.work / "worker.properties").write_text(self.WORKER.format(plugins=KAFKA / "plugins"))
        (self.work / "log4j2.xml").write_text(self.LOG)
        made = subprocess.run(["java", "-cp", f"{KAFKA}/libs/*", "kafka.tools.StorageTool", "random-uuid"], capture_output=True, text=True, check=True).stdout.split()[-1]
        self.java("format", "kafka.tools.StorageTool", "format", "-t", made, "-c", "server.properties").wait()
        processes = []
        try:
            broker = self.java("broker", "-Xms1G", "-Xmx1G", *self.JVM, "kafka.Kafka", "server.properties")
            processes.append(broker)
            self.until("the broker", lambda: "Kafka Server started" in (self.work / "broker.log").read_text(errors="replace"), broker)
            worker = self.java("connect", "-Xms256M", "-Xmx2G", *self.JVM, "org.apache.kafka.connect.cli.ConnectDistributed", "worker.properties")
            processes.append(worker)
            self.until("Connect", lambda: self.answers("/connectors") is not None, worker)
            yield broker, worker
        finally:
            # The worker first: without a broker it does not end.
            for process in reversed(processes):
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(60)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def mysql_config(self, server, prefix, broker):
        """What its connectors for MySQL and MariaDB need. They keep the tables' history in a topic."""
        name = {"mysql": "mysql.MySqlConnector", "mariadb": "mariadb.MariaDbConnector"}[server.flavor]
        return {"connector.class": f"io.debezium.connector.{name}", "database.hostname": "127.0.0.1", "database.port": str(server.port), "database.user": "weir", "database.password": "",
                "database.server.id": "4711", "database.ssl.mode": {"mysql": "disabled", "mariadb": "disable"}[server.flavor], "topic.prefix": prefix, "database.include.list": "bench",
                "schema.history.internal.kafka.bootstrap.servers": broker, "schema.history.internal.kafka.topic": f"{prefix}-history"}

    def used(self, process):
        """CPU seconds so far and peak resident MB."""
        fields = open(f"/proc/{process.pid}/stat").read().rsplit(")", 1)[1].split()
        peak = next(line for line in open(f"/proc/{process.pid}/status") if line.startswith("VmHWM"))
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), int(peak.split()[1]) / 1024

    def postgres_config(self, source, table):
        return {"connector.class": "io.debezium.connector.postgresql.PostgresConnector", "database.hostname": "127.0.0.1", "database.port": str(source.port),
                "database.user": "postgres", "database.password": "x", "database.dbname": "bench", "topic.prefix": "bench", "plugin.name": "pgoutput", "slot.name": "debezium",
                "publication.name": "bench", "publication.autocreate.mode": "disabled", "table.include.list": f"public.{table}", "snapshot.mode": "no_data"}

    def drain(self, config, topic, rows):
        """What waits for the connector, from the first record's arrival in the topic to the last one's: starting Java does not count."""
        with self.running() as (broker, worker):
            begin, before = time.perf_counter(), [self.used(process)[0] for process in (worker, broker)]
            self.rest("/connectors", {"name": "bench", "config": config | {"tombstones.on.delete": "false"}})
            watch = subprocess.run([PY, "-c", self.WATCH, topic, str(rows), "600"], capture_output=True, text=True)
            if watch.returncode:
                shown = (self.work / "connect.log").read_text(errors="replace").splitlines()
                raise RuntimeError(f"{watch.stderr[-300:]} {self.answers('/connectors/bench/status')} {[line for line in shown if ' ERROR ' in line][-3:]}")
            figure = json.loads(watch.stdout)
            figure["with_start_of_connector_s"] = time.perf_counter() - begin
            for name, process, cpu in zip(("connect", "broker"), (worker, broker), before):
                used, peak = self.used(process)
                figure |= {f"{name}_cpu_s": used - cpu, f"{name}_rss_mb": peak}
            figure |= {"cpu_s": figure["connect_cpu_s"], "rss_mb": figure["connect_rss_mb"]}
            return figure


# ---- running beside a writer ----

class Writer:
    """pgbench, paced: each transaction updates one row and leaves its own number in it."""

    def __init__(self, source, work, table, keys, rate):
        self.script = work / "writer.sql"
        self.script.write_text(f"\\set id random(1, {keys})\nUPDATE {table} SET v = v + 1, tx = pg_current_xact_id()::text::bigint, at = clock_timestamp() WHERE id = :id;\n")
        self.source, self.rate = source, rate

    def start(self, seconds):
        self.log = open(self.script.with_suffix(".log"), "w+")
        self.process = subprocess.Popen([str(self.source.bin / "pgbench"), "-n", "-M", "prepared", "-c", "8", "-j", "1", "-R", str(self.rate), "-T", str(seconds), "-f", str(self.script),
                                         self.source.url], stdout=self.log, stderr=subprocess.STDOUT)
        return self

    def stop(self):
        """Ends it now; transactions that were begun are finished or undone."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait()

    def told(self):
        """Transactions per second as pgbench counts them."""
        self.process.wait()
        self.log.seek(0)
        text = self.log.read()
        tps = [line for line in text.splitlines() if line.startswith("tps")]
        if not tps:
            raise RuntimeError(text[-500:])
        return float(tps[0].split("=")[1].split()[0])


def spread(values):
    values = sorted(values)
    at = lambda part: round(values[min(len(values) - 1, int(len(values) * part))], 2)
    return {"count": len(values), "p50_ms": at(0.5), "p90_ms": at(0.9), "p99_ms": at(0.99), "p999_ms": at(0.999), "max_ms": round(values[-1], 2)}


def latency(pair, work, seconds, rate):
    """Each update carries its transaction's number; a trigger at the target keeps every arrival, and the server knows when both transactions were committed."""
    keys = 100_000
    pair.fresh()
    source, target = pair.source, pair.target
    source.sql(f"CREATE TABLE lat (id bigint PRIMARY KEY, v bigint, tx bigint, at timestamptz); INSERT INTO lat SELECT g, 0, 0, now() FROM generate_series(1, {keys}) g; VACUUM ANALYZE lat")
    target.sql("""CREATE TABLE lat (id bigint PRIMARY KEY, v bigint, tx bigint, at timestamptz);
CREATE TABLE arrival (tx bigint, here xid, seen timestamptz);
CREATE FUNCTION arrive() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
 INSERT INTO arrival VALUES (NEW.tx, pg_current_xact_id()::xid, clock_timestamp()); RETURN NULL; END $$;
CREATE TRIGGER arrive AFTER UPDATE ON lat FOR EACH ROW EXECUTE FUNCTION arrive()""")
    weir = Weir(f"{{postgres-cdc: {{url: '{source.url}', tables: [public.lat]}}}}", work, "latency", f"{{postgres: {{url: '{target.url}'}}}}")
    weir.drain()
    target.sql("TRUNCATE arrival")
    log = open(work / "latency.log", "w+")
    process = subprocess.Popen(weir.command(), stdout=log, stderr=log)
    writer = Writer(source, work, "lat", keys, rate)
    # It follows the log once the first change of a warm-up is there.
    writer.start(3)
    limit = time.monotonic() + 30
    while target.sql("SELECT EXISTS (SELECT FROM arrival)") != "t":
        if process.poll() is not None or time.monotonic() > limit:
            log.seek(0)
            raise RuntimeError("nothing arrives: " + log.read()[-600:])
        time.sleep(0.1)
    writer.told()
    first = source.sql("SELECT txid_current()")
    tps = writer.start(seconds).told()
    last = source.sql("SELECT txid_current()")
    limit = time.monotonic() + 60
    while source.sql("SELECT sum(v) FROM lat") != target.sql("SELECT sum(v) FROM lat") and time.monotonic() < limit:
        time.sleep(0.2)
    status = open(f"/proc/{process.pid}/status").read()
    fields = open(f"/proc/{process.pid}/stat").read().rsplit(")", 1)[1].split()
    cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    weir.drain()
    pair.same("lat")
    mine = f"tx > {first} AND tx < {last}"
    arrived = [line.split("|") for line in target.sql(f"SELECT tx, extract(epoch FROM pg_xact_commit_timestamp(here)) * 1e6 FROM arrival WHERE {mine}").splitlines()]
    # Each row has the number of its last transaction only: the source's commits are asked by number.
    numbers = ",".join(sorted({tx for tx, _ in arrived}))
    committed = dict(line.split("|") for line in source.sql(f"SELECT tx, extract(epoch FROM pg_xact_commit_timestamp(tx::xid)) * 1e6 FROM unnest('{{{numbers}}}'::text[]) tx").splitlines())
    waits = [(float(commit) - float(committed[tx])) / 1000 for tx, commit in arrived]
    flushes = int(target.sql(f"SELECT count(DISTINCT here::text) FROM arrival WHERE {mine}"))
    peak = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024
    result = {"case": "latency", "seconds": seconds, "transactions_per_s": round(tps, 1), "transactions": int(last) - int(first), "commit_to_commit": spread(waits), "target_transactions": flushes,
              "weir_cpu_s": cpu, "rss_mb": peak}
    one = result["commit_to_commit"]
    say(f"  latency at {tps:.0f} tx/s: {one['count']} changes in {flushes} transactions, p50 {one['p50_ms']} ms, p99 {one['p99_ms']} ms, max {one['max_ms']} ms, {peak:.0f} MB")
    return result


def snapshot(pair, work, rows, rate):
    pair.fresh()
    source, target = pair.source, pair.target
    source.sql(f"""CREATE TABLE big (id bigint PRIMARY KEY, v bigint, tx bigint, at timestamptz, a int, b numeric(12,2), c text, d date);
SET synchronous_commit = off; INSERT INTO big SELECT g, 0, 0, now(), g % 1000, g / 7.0, 'row number ' || g, date '2026-01-01' + (g % 365)::int FROM generate_series(1, {rows}) g""")
    source.sql("VACUUM (FREEZE, ANALYZE) big")
    source.sql("CHECKPOINT")
    say(f"snapshot: {rows} rows are there")
    figures = {}
    for name in ["discard"] * has_discard() + ["quiet", "busy"]:
        sink = "{discard: {}}" if name == "discard" else f"{{postgres: {{url: '{target.url}', table: {name}}}}}"
        weir = Weir(f"{{postgres-cdc: {{url: '{source.url}', tables: [public.big]}}}}", work, f"snapshot_{name}", sink)
        writer = Writer(source, work, "big", rows, rate).start(3600) if name == "busy" else None
        if writer:
            time.sleep(2)
        begin = int(source.sql("SELECT xact_commit FROM pg_stat_database WHERE datname = 'bench'"))
        figures[name] = weir.drain()
        if writer:
            writer.stop()
            time.sleep(1.1)
            figures[name]["transactions_meanwhile"] = int(source.sql("SELECT xact_commit FROM pg_stat_database WHERE datname = 'bench'")) - begin
            weir.drain()
        if name != "discard":
            pair.same("big", name)
            target.sql(f"TRUNCATE {name}; CHECKPOINT")
        source.drop_slots()
        figure = figures[name]
        say(f"  snapshot {name:8} {figure['wall_s']:7.2f} s  {rows / figure['wall_s']:9.0f} rows/s  cpu {figure['cpu_s']:6.2f} s  {figure['rss_mb']:6.0f} MB")
    return {"case": "snapshot", "rows": rows, "busy_to_quiet": round(figures["busy"]["wall_s"] / figures["quiet"]["wall_s"], 3), "runs": figures}


def table(results):
    """The bars of the specification beside what was measured."""
    for result in results:
        print(f"\n{result['case']}")
        if result["case"].startswith("backlog"):
            of = result["median"]
            print(f"{'program':18}{'wall s':>9}{'events/s':>11}{'cpu s':>9}{'peak MB':>9}")
            for name, row in sorted(of.items(), key=lambda item: item[1]["wall_s"]):
                print(f"{name:18}{row['wall_s']:9.2f}{row['events_per_s']:11}{row['cpu_s']:9.2f}{row['rss_mb']:9.0f}")
            against = lambda one, other: f"{of[other]['events_per_s'] / of[one]['events_per_s']:.2f}" if one in of and other in of else "-"
            print(f"to discard / floor {against('weir_discard', 'pg_recvlogical')} (<= 1.25)   into PostgreSQL {of['weir_postgres']['events_per_s']} events/s (>= 40,000)"
                  f"   Debezium / discard {against('debezium', 'weir_discard')} (>= 5), / PostgreSQL {against('debezium', 'weir_postgres')} (>= 5)", end="")
            print(f"   peak {max(row['rss_mb'] for name, row in of.items() if name.startswith('weir')):.0f} MB (<= 150)")
        elif result["case"] == "latency":
            one = result["commit_to_commit"]
            print(f"{result['transactions_per_s']} tx/s, {one['count']} changes: p50 {one['p50_ms']} ms (<= 20)   p99 {one['p99_ms']} ms (<= 150)   max {one['max_ms']} ms   peak {result['rss_mb']:.0f} MB (<= 150)")
        else:
            for name, row in result["runs"].items():
                print(f"{name:18}{row['wall_s']:9.2f} s{result['rows'] / row['wall_s']:11.0f} rows/s{row['cpu_s']:9.2f} cpu s{row['rss_mb']:9.0f} MB")
            print(f"busy / quiet {result['busy_to_quiet']} (<= 1.5), both targets equal to the source")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", nargs="?", default="all", choices=("backlog", "latency", "snapshot", "all"))
    parser.add_argument("--source", default="postgres", choices=("postgres", "mysql", "mariadb"), help="of MySQL and MariaDB there is only the backlog")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--reps", type=int, default=3)
    parser.add_argument("--shapes", type=lambda text: text.split(","), default=["narrow", "wide", "mixed"])
    parser.add_argument("--no-debezium", action="store_true")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--snapshot-rows", type=int, default=6_000_000)
    parser.add_argument("--keep", action="store_true", help="leave the server's data and the work folder")
    args = parser.parse_args()
    if args.source != "postgres":
        args.case = "backlog"
    if args.rows % 20:
        parser.error("--rows: a multiple of 20")
    chosen = lambda name: args.case in (name, "all")
    work = CACHE / "bench-out" / "cdc"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    debezium = Debezium(work) if chosen("backlog") and not args.no_debezium else None
    results, load = [], os.getloadavg()[0]

    def run(case, *words):
        before = os.getloadavg()[0]
        results.append(case(pair, work, *words) | {"load_before": round(before, 2)})

    pair = Pair(int(os.environ.get("BENCH_CDC_PORT", "15996")), args.source).start()
    version, failed = pair.source.version(), None
    try:
        if chosen("backlog"):
            for shape in args.shapes:
                run(backlog if args.source == "postgres" else backlog_mysql, shape, args.rows // 4 if shape == "wide" else args.rows, args.reps, debezium)
        if chosen("latency"):
            run(latency, args.seconds, args.rate)
        if chosen("snapshot"):
            run(snapshot, args.snapshot_rows, args.rate)
    except Exception as error:  # what was measured is kept
        failed = error
    finally:
        pair.stop(args.keep)
        if not args.keep and failed is None:
            shutil.rmtree(work, ignore_errors=True)
    table(results)
    stamp = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H%MZ")
    machine = {
        "cpus": CORES, "processor": next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine()),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1), "kernel": platform.release(), "load_before": load,
    }
    if results:
        out = HERE / "results" / f"cdc-{stamp}.json"
        out.write_text(json.dumps({"at": stamp, "machine": machine, "peers": [version, f"Debezium {DEBEZIUM[args.source]} on Kafka Connect 4.3.1"], "command": sys.argv[1:], "results": results}, indent=1) + "\n")
        print(f"\nkept in {out.relative_to(ROOT)}")
    if failed:
        raise failed


if __name__ == "__main__":
    main()
