-- Totals over all runs that ever ended, for the counters of the metrics. `labels` is JSON with its keys in order.
CREATE TABLE run_totals (
    tenant_id TEXT NOT NULL REFERENCES tenants (id),
    metric TEXT NOT NULL,
    labels TEXT NOT NULL,
    value DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (tenant_id, metric, labels)
);
