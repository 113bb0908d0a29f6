-- Points of a tenant or a job over all metrics, by time.
CREATE INDEX metric_points_of_tenant ON metric_points (tenant_id, at);
CREATE INDEX metric_points_of_job ON metric_points (tenant_id, job_id, at);
