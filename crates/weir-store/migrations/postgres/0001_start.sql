-- The first schema. Times are microseconds since 1970 (UTC), JSON is text, flags are 0 or 1.

CREATE TABLE tenants (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL,
    status TEXT COLLATE "C" NOT NULL,
    quotas TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX tenants_listing ON tenants (created_at, id);

-- The ends of a tenant's two logs. Who writes for the tenant holds this row.
CREATE TABLE heads (
    tenant_id TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES tenants (id),
    audit_seq BIGINT NOT NULL,
    audit_hash TEXT COLLATE "C" NOT NULL,
    outbox_seq BIGINT NOT NULL
);

CREATE TABLE principals (
    tenant_id TEXT COLLATE "C" NOT NULL REFERENCES tenants (id),
    id TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    role TEXT COLLATE "C" NOT NULL,
    oidc_subject TEXT COLLATE "C",
    disabled BIGINT NOT NULL,
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE UNIQUE INDEX principals_name ON principals (tenant_id, name);
CREATE UNIQUE INDEX principals_oidc ON principals (tenant_id, oidc_subject) WHERE oidc_subject IS NOT NULL;
CREATE INDEX principals_listing ON principals (tenant_id, created_at, id);

CREATE TABLE tokens (
    tenant_id TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    principal_id TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    prefix TEXT COLLATE "C" NOT NULL,
    hash TEXT COLLATE "C" NOT NULL,
    role TEXT COLLATE "C" NOT NULL,
    scopes TEXT COLLATE "C" NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT,
    last_used_at BIGINT,
    created_at BIGINT NOT NULL,
    FOREIGN KEY (tenant_id, principal_id) REFERENCES principals (tenant_id, id)
);
CREATE UNIQUE INDEX tokens_hash ON tokens (hash);
CREATE INDEX tokens_listing ON tokens (tenant_id, created_at, id);
CREATE INDEX tokens_principal ON tokens (tenant_id, principal_id, created_at, id);

-- `name_search` is the name in lower case. A deleted job stays, for its history.
CREATE TABLE jobs (
    tenant_id TEXT COLLATE "C" NOT NULL REFERENCES tenants (id),
    id TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    name_search TEXT COLLATE "C" NOT NULL,
    description TEXT COLLATE "C",
    status TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    mode TEXT COLLATE "C" NOT NULL,
    source_kinds TEXT COLLATE "C" NOT NULL,
    sink_kinds TEXT COLLATE "C" NOT NULL,
    connections TEXT COLLATE "C" NOT NULL,
    depends_on TEXT COLLATE "C" NOT NULL,
    schedule TEXT COLLATE "C",
    next_fire_at BIGINT,
    retry TEXT COLLATE "C" NOT NULL,
    timeout_secs BIGINT,
    labels TEXT COLLATE "C" NOT NULL,
    created_by TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    deleted_at BIGINT,
    PRIMARY KEY (tenant_id, id)
);
CREATE UNIQUE INDEX jobs_name ON jobs (tenant_id, name) WHERE deleted_at IS NULL;
CREATE INDEX jobs_listing ON jobs (tenant_id, created_at DESC, id DESC) WHERE deleted_at IS NULL;
CREATE INDEX jobs_due ON jobs (next_fire_at, id) WHERE next_fire_at IS NOT NULL AND status = 'active' AND deleted_at IS NULL;

CREATE TABLE job_versions (
    tenant_id TEXT COLLATE "C" NOT NULL,
    job_id TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    spec TEXT COLLATE "C" NOT NULL,
    created_by TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    note TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant_id, job_id, version),
    FOREIGN KEY (tenant_id, job_id) REFERENCES jobs (tenant_id, id)
);

-- What jobs name, the other way round: kind `job` (target = id) or `connection` (target = name).
CREATE TABLE job_uses (
    tenant_id TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    target TEXT COLLATE "C" NOT NULL,
    job_id TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant_id, kind, target, job_id),
    FOREIGN KEY (tenant_id, job_id) REFERENCES jobs (tenant_id, id)
);
CREATE INDEX job_uses_job ON job_uses (tenant_id, job_id);

-- `trigger_key` makes a fire or a dependency start one run only. `rows_counted` and `bytes_counted` are in the tenant's usage already.
CREATE TABLE runs (
    tenant_id TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    job_id TEXT COLLATE "C" NOT NULL,
    job_version BIGINT NOT NULL,
    status TEXT COLLATE "C" NOT NULL,
    trigger_kind TEXT COLLATE "C" NOT NULL,
    trigger_key TEXT COLLATE "C",
    attempt BIGINT NOT NULL,
    lost BIGINT NOT NULL,
    fence BIGINT NOT NULL,
    cancel_requested BIGINT NOT NULL,
    queued_at BIGINT NOT NULL,
    not_before BIGINT NOT NULL,
    started_at BIGINT,
    ended_at BIGINT,
    worker TEXT COLLATE "C",
    lease_until BIGINT,
    streams TEXT COLLATE "C" NOT NULL,
    report TEXT COLLATE "C",
    error TEXT COLLATE "C",
    trace_id TEXT COLLATE "C",
    resources TEXT COLLATE "C",
    log_seq BIGINT NOT NULL,
    rows_counted BIGINT NOT NULL,
    bytes_counted BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, job_id) REFERENCES jobs (tenant_id, id)
);
CREATE UNIQUE INDEX runs_trigger ON runs (tenant_id, job_id, trigger_key) WHERE trigger_key IS NOT NULL;
CREATE UNIQUE INDEX runs_one_running ON runs (tenant_id, job_id) WHERE status = 'running';
CREATE INDEX runs_ready ON runs (not_before) WHERE status = 'queued';
CREATE INDEX runs_queue ON runs (tenant_id, not_before, id) WHERE status = 'queued';
CREATE INDEX runs_unfinished ON runs (job_id) WHERE status IN ('queued', 'running');
CREATE INDEX runs_succeeded ON runs (tenant_id, job_id, ended_at) WHERE status = 'succeeded';
CREATE INDEX runs_leases ON runs (lease_until) WHERE status = 'running';
CREATE INDEX runs_listing ON runs (tenant_id, queued_at DESC, id DESC);
CREATE INDEX runs_of_job ON runs (tenant_id, job_id, queued_at DESC, id DESC);
CREATE INDEX runs_by_status ON runs (tenant_id, status, queued_at DESC, id DESC);

CREATE TABLE run_logs (
    tenant_id TEXT COLLATE "C" NOT NULL,
    run_id TEXT COLLATE "C" NOT NULL,
    seq BIGINT NOT NULL,
    at BIGINT NOT NULL,
    level TEXT COLLATE "C" NOT NULL,
    message TEXT COLLATE "C" NOT NULL,
    event TEXT COLLATE "C",
    PRIMARY KEY (tenant_id, run_id, seq)
);

-- `day` counts from 1970-01-01 (UTC).
CREATE TABLE usage_days (
    tenant_id TEXT COLLATE "C" NOT NULL REFERENCES tenants (id),
    day BIGINT NOT NULL,
    rows_written BIGINT NOT NULL,
    bytes_written BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, day)
);

CREATE TABLE connections (
    tenant_id TEXT COLLATE "C" NOT NULL REFERENCES tenants (id),
    id TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    options TEXT COLLATE "C" NOT NULL,
    sealed BYTEA,
    secret_names TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE UNIQUE INDEX connections_name ON connections (tenant_id, name);

CREATE TABLE secrets (
    tenant_id TEXT COLLATE "C" NOT NULL REFERENCES tenants (id),
    name TEXT COLLATE "C" NOT NULL,
    sealed BYTEA NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, name)
);

CREATE TABLE alert_rules (
    tenant_id TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    job_id TEXT COLLATE "C" NOT NULL,
    metric TEXT COLLATE "C" NOT NULL,
    threshold DOUBLE PRECISION NOT NULL,
    window_secs BIGINT NOT NULL,
    severity TEXT COLLATE "C" NOT NULL,
    action TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, job_id) REFERENCES jobs (tenant_id, id)
);
CREATE INDEX alert_rules_job ON alert_rules (tenant_id, job_id, created_at, id);

-- An alert outlives its rule.
CREATE TABLE alerts (
    tenant_id TEXT COLLATE "C" NOT NULL REFERENCES tenants (id),
    id TEXT COLLATE "C" NOT NULL,
    rule_id TEXT COLLATE "C" NOT NULL,
    job_id TEXT COLLATE "C" NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    value DOUBLE PRECISION NOT NULL,
    fired_at BIGINT NOT NULL,
    resolved_at BIGINT,
    PRIMARY KEY (tenant_id, id)
);
CREATE UNIQUE INDEX alerts_one_firing ON alerts (tenant_id, rule_id) WHERE state = 'firing';
CREATE INDEX alerts_listing ON alerts (tenant_id, fired_at DESC, id DESC);
CREATE INDEX alerts_of_job ON alerts (tenant_id, job_id, fired_at DESC, id DESC);

CREATE TABLE silences (
    tenant_id TEXT COLLATE "C" NOT NULL REFERENCES tenants (id),
    id TEXT COLLATE "C" NOT NULL,
    job_id TEXT COLLATE "C",
    until_at BIGINT NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX silences_until ON silences (tenant_id, until_at);

CREATE TABLE metric_points (
    tenant_id TEXT COLLATE "C" NOT NULL,
    job_id TEXT COLLATE "C",
    run_id TEXT COLLATE "C",
    metric TEXT COLLATE "C" NOT NULL,
    labels TEXT COLLATE "C" NOT NULL,
    at BIGINT NOT NULL,
    value DOUBLE PRECISION NOT NULL
);
CREATE INDEX metric_points_job ON metric_points (tenant_id, job_id, metric, at);
CREATE INDEX metric_points_metric ON metric_points (tenant_id, metric, at);
CREATE INDEX metric_points_at ON metric_points (at);

CREATE TABLE drifts (
    tenant_id TEXT COLLATE "C" NOT NULL REFERENCES tenants (id),
    id TEXT COLLATE "C" NOT NULL,
    job_id TEXT COLLATE "C" NOT NULL,
    run_id TEXT COLLATE "C" NOT NULL,
    stream TEXT COLLATE "C" NOT NULL,
    changes TEXT COLLATE "C" NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX drifts_of_job ON drifts (tenant_id, job_id, at DESC, id DESC);

CREATE TABLE stream_schemas (
    tenant_id TEXT COLLATE "C" NOT NULL,
    job_id TEXT COLLATE "C" NOT NULL,
    stream TEXT COLLATE "C" NOT NULL,
    schema TEXT COLLATE "C" NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, job_id, stream),
    FOREIGN KEY (tenant_id, job_id) REFERENCES jobs (tenant_id, id)
);

-- Append-only: see the triggers below.
CREATE TABLE audit (
    tenant_id TEXT COLLATE "C" NOT NULL,
    seq BIGINT NOT NULL,
    at BIGINT NOT NULL,
    actor_id TEXT COLLATE "C" NOT NULL,
    actor_name TEXT COLLATE "C" NOT NULL,
    request_id TEXT COLLATE "C",
    trace_id TEXT COLLATE "C",
    action TEXT COLLATE "C" NOT NULL,
    target TEXT COLLATE "C" NOT NULL,
    outcome TEXT COLLATE "C" NOT NULL,
    detail TEXT COLLATE "C" NOT NULL,
    previous_hash TEXT COLLATE "C" NOT NULL,
    hash TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant_id, seq)
);
CREATE INDEX audit_action ON audit (tenant_id, action, seq);
CREATE INDEX audit_actor ON audit (tenant_id, actor_id, seq);

CREATE TABLE outbox (
    tenant_id TEXT COLLATE "C" NOT NULL,
    seq BIGINT NOT NULL,
    event_id TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    job_id TEXT COLLATE "C",
    data TEXT COLLATE "C" NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, seq)
);
CREATE INDEX outbox_at ON outbox (at);

CREATE TABLE subscriptions (
    tenant_id TEXT COLLATE "C" NOT NULL REFERENCES tenants (id),
    id TEXT COLLATE "C" NOT NULL,
    url TEXT COLLATE "C" NOT NULL,
    kinds TEXT COLLATE "C" NOT NULL,
    format TEXT COLLATE "C" NOT NULL,
    sealed_key BYTEA,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, id)
);

-- How far a tenant's events have been given to a destination.
CREATE TABLE outbox_cursors (
    destination TEXT COLLATE "C" NOT NULL,
    tenant_id TEXT COLLATE "C" NOT NULL REFERENCES tenants (id),
    seq BIGINT NOT NULL,
    PRIMARY KEY (destination, tenant_id)
);

-- Given, not yet delivered. `kind` is `subscription` or the destination itself. `due_at` is the next try or the end of the lease; NULL = given up.
CREATE TABLE deliveries (
    destination TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    tenant_id TEXT COLLATE "C" NOT NULL,
    seq BIGINT NOT NULL,
    order_key TEXT COLLATE "C" NOT NULL,
    attempts BIGINT NOT NULL,
    due_at BIGINT,
    worker TEXT COLLATE "C",
    error TEXT COLLATE "C",
    PRIMARY KEY (destination, tenant_id, seq)
);
CREATE INDEX deliveries_event ON deliveries (tenant_id, seq);
CREATE INDEX deliveries_due ON deliveries (kind, due_at, seq) WHERE due_at IS NOT NULL;
CREATE INDEX deliveries_order ON deliveries (destination, tenant_id, order_key, seq) WHERE due_at IS NOT NULL;

CREATE TABLE inbox (
    topic TEXT COLLATE "C" NOT NULL,
    event_id TEXT COLLATE "C" NOT NULL,
    tenant_id TEXT COLLATE "C" NOT NULL,
    body BYTEA NOT NULL,
    received_at BIGINT NOT NULL,
    PRIMARY KEY (topic, event_id)
);
CREATE INDEX inbox_received ON inbox (received_at);

CREATE TABLE idempotency (
    tenant_id TEXT COLLATE "C" NOT NULL,
    actor_id TEXT COLLATE "C" NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    fingerprint TEXT COLLATE "C" NOT NULL,
    status BIGINT,
    headers TEXT COLLATE "C",
    body BYTEA,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, actor_id, key)
);
CREATE INDEX idempotency_created ON idempotency (created_at);

CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append-only';
END;
$$;
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_is_not_emptied BEFORE TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
