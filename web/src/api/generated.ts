// Generated from docs/openapi.json by `npm run api`. Do not edit.

export interface paths {
    "/api/v1/alerts": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List alerts, newest first */
        get: operations["listAlerts"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/audit": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Read the tenant's audit log, newest first */
        get: operations["listAudit"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/audit/verify": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Check that the tenant's audit log is as it was written: every hash, every link, no gap */
        get: operations["verifyAudit"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/config": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List the settings in effect and where each came from; secrets are hidden */
        get: operations["getConfig"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/connections": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List stored connections, without their secrets */
        get: operations["listConnections"];
        put?: never;
        /** Store a connection that specs can name */
        post: operations["createConnection"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/connections/{connection_id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Get a stored connection, without its secrets */
        get: operations["getConnection"];
        /** Replace a connection's options */
        put: operations["updateConnection"];
        post?: never;
        /** Delete a connection that no job names */
        delete: operations["deleteConnection"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/connections/{connection_id}/test": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Try a connection out: latency, version, privileges missing */
        post: operations["testConnection"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/connections/test": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Try a connection out before it is stored; a secret that is `{"set": true}` is that of the stored connection of the name */
        post: operations["testConnectionDraft"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/connectors": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List the connectors with the schemas of their options */
        get: operations["listConnectors"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/events": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Read events as CloudEvents; with `Accept: text/event-stream` live */
        get: operations["listEvents"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/jobs": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List jobs, newest first unless another order is asked for */
        get: operations["listJobs"];
        put?: never;
        /** Create a job */
        post: operations["createJob"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/jobs/{job_id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Get a job with its spec */
        get: operations["getJob"];
        /** Replace a job's spec and settings; a changed spec is a new version */
        put: operations["updateJob"];
        post?: never;
        /** Delete a job; its queued runs are cancelled, its history stays */
        delete: operations["deleteJob"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/jobs/{job_id}/alerts": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List a job's alert rules */
        get: operations["listAlertRules"];
        put?: never;
        /** Set a job's alert rules: a list replaces all, a single rule is added */
        post: operations["setAlertRules"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/jobs/{job_id}/alerts/preview": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Say when a rule would have fired, from what was measured; nothing is stored */
        post: operations["previewAlertRule"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/jobs/{job_id}/clone": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Make a copy under another name; it begins paused */
        post: operations["cloneJob"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/jobs/{job_id}/dead-letters": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List the records that a job could not process, newest first, with the beginning of each */
        get: operations["listDeadLetters"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/jobs/{job_id}/dead-letters/{letter}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Get a dead letter with its whole record */
        get: operations["getDeadLetter"];
        /** Correct a record: what is written is kept beside what came, if a replay would write it */
        put: operations["correctDeadLetter"];
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/jobs/{job_id}/dead-letters/discard": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Give dead letters up: they are kept, and no replay takes them */
        post: operations["discardDeadLetters"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/jobs/{job_id}/dead-letters/replay": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Take dead letters once more through the pipeline as it is now, in a run of their own, each once */
        post: operations["replayDeadLetters"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/jobs/{job_id}/graph": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Get a job's pipeline as a graph of nodes, with what the checker says of it */
        get: operations["getJobGraph"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/jobs/{job_id}/journal": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Say how the logs of a `cdc` job stand: their journals, how far each sink is, what waits for an approval */
        get: operations["getJobJournal"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/jobs/{job_id}/journal/approve": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Let a stream go on that waits since its shape has changed (`on_schema_change: hold`) */
        post: operations["approveStream"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/jobs/{job_id}/metrics": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Get a job's numbers: one value per measure, and all values over the time */
        get: operations["getJobMetrics"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/jobs/{job_id}/pause": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Stop running a job by itself */
        post: operations["pauseJob"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/jobs/{job_id}/positions": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Get how far a job's streams are: cursors, splits with their positions and lag, event time */
        get: operations["getJobPositions"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/jobs/{job_id}/resume": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Run a job by itself again; fires of the pause are gone */
        post: operations["resumeJob"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/jobs/{job_id}/rollback": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Make a new version from a kept one */
        post: operations["rollbackJob"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/jobs/{job_id}/run": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Run a job now */
        post: operations["runJob"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/jobs/{job_id}/runs": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List a job's runs, newest first unless another order is asked for */
        get: operations["listRunsOfJob"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/jobs/{job_id}/snapshot": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Read a table of a `cdc` job once more, or some of its rows, while its log goes on */
        post: operations["snapshotStream"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/jobs/{job_id}/versions": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List the kept versions of a job's spec, newest first */
        get: operations["listJobVersions"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/jobs/{job_id}/versions/{version}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Get a kept version of a job's spec */
        get: operations["getJobVersion"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/me": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Say who asks: the principal, its tenant, its role and the scopes of its token */
        get: operations["getMe"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/monitoring/dashboard": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Get what matters now: runs, failing jobs, throughput, lag, freshness, alerts, queue, cost */
        get: operations["getMonitoringDashboard"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/monitoring/history": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Get what all runs did over a while, in 48 steps: rows, bytes, ends, lag */
        get: operations["getMonitoringHistory"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/monitoring/metrics/export": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Export the tenant's metrics for Prometheus */
        get: operations["exportMetrics"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/pipelines/plan": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Say what a run of a pipeline would do, asking the real systems: types, losses, actions, guarantee; nothing is stored */
        post: operations["planPipeline"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/pipelines/preview": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Read the first rows of each source and after each transform; nothing is written, what looks personal is masked */
        post: operations["previewPipeline"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/pipelines/schema": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Get the JSON Schema of pipeline files, for editors */
        get: operations["getPipelineSchema"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/pipelines/validate": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Check a pipeline without storing it; problems are told, not refused */
        post: operations["validatePipeline"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/principals": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List users and service accounts */
        get: operations["listPrincipals"];
        put?: never;
        /** Create a user or service account */
        post: operations["createPrincipal"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/principals/{principal_id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Get a user or service account */
        get: operations["getPrincipal"];
        /** Change the role, disable or enable */
        put: operations["updatePrincipal"];
        post?: never;
        /** Delete a user or service account with its tokens */
        delete: operations["deletePrincipal"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/quotas": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Get the own tenant's limits and what it has used of them */
        get: operations["getQuotas"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/runs": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List runs, newest first unless another order is asked for */
        get: operations["listRuns"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/runs/{run_id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Get a run with its counts and report */
        get: operations["getRun"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/runs/{run_id}/cancel": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Stop a run; a queued one at once, a running one within seconds, its checkpoint kept */
        post: operations["cancelRun"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/runs/{run_id}/graph": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Get the pipeline of a run as a graph with the rows and bytes on its edges; with `Accept: text/event-stream` live: events `graph`, `counts` when they have changed, at last `end` */
        get: operations["getRunGraph"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/runs/{run_id}/logs": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Read a run's log; with `Accept: text/event-stream` live: events `log`, `run` when its state or counts have changed, at last `end` */
        get: operations["getRunLogs"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/runs/{run_id}/retry": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Run the same version of the job again */
        post: operations["retryRun"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/schedules/preview": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Say what a schedule means and when it fires next */
        get: operations["previewSchedule"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/secrets": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List the names of secrets */
        get: operations["listSecrets"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/secrets/{name}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        /** Store a value that specs write as `{{name}}`; it is never shown */
        put: operations["putSecret"];
        post?: never;
        /** Delete a secret */
        delete: operations["deleteSecret"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/silences": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List the silences that still hold */
        get: operations["listSilences"];
        put?: never;
        /** Send no notifications of a job, or of all, for a while */
        post: operations["createSilence"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/silences/{silence_id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post?: never;
        /** End a silence that still holds */
        delete: operations["endSilence"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/subscriptions": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List subscriptions */
        get: operations["listSubscriptions"];
        put?: never;
        /** Send events to a URL, signed; the key is shown once */
        post: operations["createSubscription"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/subscriptions/{subscription_id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Get a subscription */
        get: operations["getSubscription"];
        put?: never;
        post?: never;
        /** Delete a subscription */
        delete: operations["deleteSubscription"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/templates": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List templates by category */
        get: operations["listTemplates"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/templates/{template_id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Get a template with its text and an example */
        get: operations["getTemplate"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/templates/{template_id}/instantiate": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Fill in a template's parameters; make a job of it if asked to */
        post: operations["instantiateTemplate"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/tenants": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List tenants */
        get: operations["listTenants"];
        put?: never;
        /** Create a tenant */
        post: operations["createTenant"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/tenants/{tenant_id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Get a tenant */
        get: operations["getTenant"];
        /** Change a tenant's name, status and limits */
        put: operations["updateTenant"];
        post?: never;
        /** Remove a suspended tenant for good, with its files, connections and secrets; its history stays */
        delete: operations["removeTenant"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/tokens": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List tokens, without their secrets */
        get: operations["listTokens"];
        put?: never;
        /** Create a token; its secret is shown once */
        post: operations["createToken"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/tokens/{token_id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post?: never;
        /** Revoke a token */
        delete: operations["revokeToken"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/docs": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** A page that lists and tries the operations */
        get: operations["getDocs"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/docs/app.css": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Its style */
        get: operations["getDocsStyle"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/docs/app.js": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Its script */
        get: operations["getDocsScript"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/health": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Health of the runner */
        get: operations["getHealth"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/jobs/{job_id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post?: never;
        /** Stop a run */
        delete: operations["cancelJob"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/jobs/active": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List the runs that wait or go on */
        get: operations["listActiveJobs"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/jobs/execute": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Store the spec file of the server's folder as a job and run it */
        post: operations["executeSpec"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/livez": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** The process answers */
        get: operations["getLive"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/metrics": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Metrics of the platform for Prometheus */
        get: operations["getMetrics"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/openapi.json": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** This document */
        get: operations["getOpenApi"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/readyz": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** The database answers too */
        get: operations["getReady"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
}
export type webhooks = Record<string, never>;
export interface components {
    schemas: {
        /**
         * @description Who is told.
         * @enum {string}
         */
        Action: "webhook" | "slack" | "none";
        /** @description Runs that wait or go on. */
        ActiveJobs: {
            /** @description Ids of runs. */
            active_jobs: string[];
        };
        /** @description A rule that was broken, from when to when. */
        Alert: {
            /**
             * Format: date-time
             * @description When it began.
             */
            fired_at: string;
            /** @description Its id. */
            id: string;
            /** @description Of which job. */
            job_id: string;
            /** @description The job's name. */
            job_name: string;
            /**
             * Format: date-time
             * @description When it ended.
             */
            resolved_at?: string | null;
            /** @description The rule. */
            rule_id: string;
            /** @description Whether it still holds. */
            state: components["schemas"]["AlertState"];
            /**
             * Format: double
             * @description The value that broke the rule.
             */
            value: number;
        };
        /** @description A rule. */
        AlertRule: {
            /** @description Who is told. */
            action: string;
            /**
             * Format: date-time
             * @description When.
             */
            created_at: string;
            /** @description Its id. */
            id: string;
            /** @description Of which job. */
            job_id: string;
            /** @description What is watched. */
            metric: string;
            /** @description How bad. */
            severity: string;
            /**
             * Format: double
             * @description It fires above this.
             */
            threshold: number;
            /** @description Over this long: `300s`. */
            window: string;
        };
        /**
         * @description Whether an alert holds.
         * @enum {string}
         */
        AlertState: "firing" | "resolved";
        /** @description A whole listing. */
        AllOfAlertRule: {
            items: components["schemas"]["AlertRule"][];
        };
        /** @description A whole listing. */
        AllOfSecretName: {
            items: components["schemas"]["SecretName"][];
        };
        /** @description A whole listing. */
        AllOfSetting: {
            items: components["schemas"]["Setting"][];
        };
        /** @description A whole listing. */
        AllOfSilenceHeld: {
            items: components["schemas"]["SilenceHeld"][];
        };
        /** @description A whole listing. */
        AllOfSubscription: {
            items: components["schemas"]["Subscription"][];
        };
        /** @description A whole listing. */
        AllOfTemplate: {
            items: components["schemas"]["Template"][];
        };
        /** @description Which stream may go on. */
        ApproveBody: {
            /** @description The stream, as `logs[].sinks[].held[]` names it. */
            stream: string;
        };
        /** @description What was approved. */
        Approved: {
            /** @description Once per sink. */
            approved: components["schemas"]["HeldState"][];
            /** @description A run is going on: it applies what waits within seconds. Else the next one does. */
            running: boolean;
        };
        /** @description Something that was asked of a log. */
        AskedState: {
            /** @description `approve` or `snapshot`. */
            do: string;
            /**
             * Format: int64
             * @description What is approved: changes of its shape up to this boundary.
             */
            seq?: number | null;
            /** @description The stream. */
            stream: string;
            /** @description Of which rows the snapshot is taken; null: of all. */
            where?: string | null;
        };
        /** @description Whether an audit log is as it was written. */
        AuditCheck: {
            /**
             * Format: int64
             * @description The first row that is not as it was written.
             */
            broken_seq?: number | null;
            /**
             * Format: int64
             * @description Rows that were looked at: all, or those up to the first fault.
             */
            rows: number;
            /** @description Whether every row has its hash, follows the row before, and none is missing. */
            whole: boolean;
            /** @description What is wrong with it. */
            why?: string | null;
        };
        /** @description A row of the audit log. */
        AuditRow: {
            /** @description `job.create`, `access.denied`, …. */
            action: string;
            /** @description Principal id or `system:…`. */
            actor_id: string;
            /** @description For people. */
            actor_name: string;
            /**
             * Format: date-time
             * @description When.
             */
            at: string;
            /** @description What changed. */
            detail: unknown;
            /** @description Of this row. */
            hash: string;
            /** @description `allowed`, `denied`, `failed`. */
            outcome: string;
            /** @description Of the row before. */
            previous_hash: string;
            /** @description The request. */
            request_id?: string | null;
            /**
             * Format: int64
             * @description Number in the tenant's chain, from 1, without gaps.
             */
            seq: number;
            /** @description To what. */
            target: string;
            /** @description The trace. */
            trace_id?: string | null;
        };
        /** @description A run that was stopped. */
        CancelledJob: {
            /** @description The run's id. */
            job_id: string;
            /** @description `cancelled`; a run that is going stops within seconds. */
            status: string;
        };
        /**
         * @description What happens with missed fires.
         * @enum {string}
         */
        CatchUp: "none" | "last" | "all";
        /** @description What to call a copy. */
        CloneBody: {
            /** @description Unique in the tenant. */
            name: string;
        };
        /** @description An event, as CloudEvents 1.0 has it. */
        CloudEvent: {
            /** @description More of it. */
            data: unknown;
            /** @description `application/json`. */
            datacontenttype: string;
            /** @description Unique. */
            id: string;
            /** @description Place in the tenant's order; give it as `after` or `Last-Event-ID` to go on. */
            sequence: string;
            /**
             * Format: uri-reference
             * @description `/weir/tenants/<tenant>/jobs/<job>`.
             */
            source: string;
            /** @description `1.0`. */
            specversion: string;
            /** @description The run or job. */
            subject?: string | null;
            /** @description Whose. */
            tenantid: string;
            /**
             * Format: date-time
             * @description When.
             */
            time: string;
            /** @description What happened. */
            type: string;
        };
        /** @description A connection. In the place of each secret option stands `{"set": true}`. */
        Connection: {
            /**
             * Format: date-time
             * @description When.
             */
            created_at: string;
            /** @description Its id. */
            id: string;
            /** @description The connector. */
            kind: string;
            /** @description What specs write after `connection:`. */
            name: string;
            /** @description Its options. */
            options: Record<string, never>;
            /**
             * Format: date-time
             * @description When.
             */
            updated_at: string;
            /**
             * Format: int64
             * @description Grows with each change; the ETag.
             */
            version: number;
        };
        /** @description A connection to be stored. */
        ConnectionBody: {
            /** @description The connector. */
            kind: string;
            /** @description Unique in the tenant; it cannot be changed. */
            name: string;
            /**
             * @description Its connection options, secret ones too. In a change, a secret option given as `{"set": true}` keeps its value, and one that is
             *     left out is removed. Values may be references: `vault://path#key`, `{{name}}`.
             */
            options?: Record<string, never>;
        };
        /** @description What a connection says of itself. Free of secrets. */
        ConnectionTest: {
            /** @description Each thing that was tried: name, whether it worked, what was seen. */
            checks: Record<string, never>[];
            /** @description Why there was no answer: code, kind, message, cause, hint. */
            error?: Record<string, never> | null;
            /**
             * Format: double
             * @description Milliseconds until the answer; `null` when there was none.
             */
            latency_ms?: number | null;
            /** @description What the credentials may not do, in the words of the connector. */
            missing_privileges: string[];
            /** @description Whether everything works that was tried. */
            ok: boolean;
            /** @description The other side's version, if it says one. */
            server_version?: string | null;
        };
        /** @description Everything that `weir connectors --json` prints. */
        Connectors: {
            /** @description One object per connector: name, options, capabilities. */
            items: Record<string, never>[];
        };
        /** @description USD. */
        Cost: {
            /**
             * Format: double
             * @description Of runs that ended in the last thirty days.
             */
            last_30_days_usd: number;
            /**
             * Format: double
             * @description Of runs that ended today.
             */
            today_usd: number;
        };
        /**
         * @description A new subscription. `key` signs the deliveries (`X-Weir-Signature`); it is never shown again, not even for the same Idempotency-Key
         *     (then it is null).
         */
        CreatedSubscription: {
            /** @description What is kept of it. */
            info: components["schemas"]["Subscription"];
            /** @description The signing key. */
            key?: string | null;
        };
        /** @description A new token. `token` is the secret: it is never shown again, not even for the same Idempotency-Key (then it is null). */
        CreatedToken: {
            /** @description What is kept of it. */
            info: components["schemas"]["Token"];
            /** @description The secret. */
            token?: string | null;
        };
        /** @description Where the next run of an incremental stream begins. */
        CursorPosition: {
            /** @description The largest value of the cursor column that was seen, as text. */
            cursor?: string | null;
            /** @description `${last_run_time}` of the next run. */
            last_run_time?: string | null;
            /** @description The source node. */
            source: string;
            /** @description The stream. */
            stream: string;
        };
        /** @description `GET /api/v1/monitoring/dashboard`. "Today" is the UTC day. */
        Dashboard: {
            /** @description Alerts that hold, the newest first; at most 100. */
            alerts: components["schemas"]["FiringAlert"][];
            /** @description Estimated cost. */
            cost: components["schemas"]["Cost"];
            /** @description Jobs whose newest ended run failed, the newest failure first; at most 50. */
            failing_jobs: components["schemas"]["FailingJob"][];
            /** @description How old the newest data of active jobs with a schedule are. */
            freshness: components["schemas"]["Worst"];
            /**
             * Format: date-time
             * @description When it was made.
             */
            generated_at: string;
            /** @description How far behind the runs are that wait or go on. */
            lag: components["schemas"]["Worst"];
            /** @description Active jobs that their schedule has called twice or more since they last succeeded, the longest first; at most 50. */
            late_jobs: components["schemas"]["LateJob"][];
            /** @description What waits. */
            queue: components["schemas"]["Queue"];
            /** @description Runs queued today, by status. */
            runs_today: {
                [key: string]: number;
            };
            /** @description How much moves. */
            throughput: components["schemas"]["Throughput"];
        };
        /** @description A record that could not be processed. */
        DeadLetter: {
            /** @description When it was met. */
            at: string;
            /** @description Stable code. */
            code: string;
            correction?: components["schemas"]["LetterCorrection"] | null;
            discarded?: components["schemas"]["LetterDiscarded"] | null;
            /** @description The flow that it was in. */
            flow: string;
            /**
             * Format: int64
             * @description Its number in the job.
             */
            id: number;
            /** @description Where it was: a line, a partition and offset, a row. */
            place: string;
            /** @description What was wrong. */
            reason: string;
            /** @description What came; in a listing its beginning. */
            record: components["schemas"]["LetterRecord"];
            /**
             * Format: int64
             * @description Bytes that are kept of it.
             */
            record_bytes: number;
            /** @description Why the last replay did not write it. */
            refusal?: string | null;
            /** @description When a replay wrote its rows. */
            replayed_at?: string | null;
            /** @description The run that met it, while that is known. */
            run_id?: string | null;
            /** @description The sink that lacks it, if a transform on the way there set it aside; null: no sink has it. */
            sink?: string | null;
            /** @description Where it stands. */
            state: components["schemas"]["DeadLetterState"];
            /** @description The stream that it came from. */
            stream: string;
        };
        /** @description Letters, by their numbers or by what they have in common: at least one condition, and all hold. Only those that wait are meant. */
        DeadLetterChoice: {
            /** @description Only with this code. */
            code?: string | null;
            /** @description These. */
            ids?: number[];
            /** @description Only those that this run has met. */
            run_id?: string | null;
            /**
             * Format: date-time
             * @description Met at this time or later.
             */
            since?: string | null;
            /** @description Only those that this sink lacks; `-`: those that none has. */
            sink?: string | null;
            /** @description Only of this stream. */
            stream?: string | null;
            /**
             * Format: date-time
             * @description Met before.
             */
            until?: string | null;
            /**
             * Format: int64
             * @description All that wait, up to this number: those that somebody has seen.
             */
            up_to?: number | null;
        };
        /** @description A corrected record. */
        DeadLetterCorrection: {
            /** @description Of a row that a transform set aside: a JSON object with all columns. Else the record as the source has it. */
            record: string;
        };
        /** @description Which letters are given up, and why. */
        DeadLetterDiscard: {
            /** @description Which. */
            letters: components["schemas"]["DeadLetterChoice"];
            /** @description Why; it is kept with the letters and in the audit log. */
            reason: string;
        };
        /** @description Dead letters of one kind, counted. */
        DeadLetterKind: {
            /** @description Their code. */
            code: string;
            /**
             * Format: int64
             * @description How many.
             */
            count: number;
            /** @description The sink that lacks them; null: none has them. */
            sink?: string | null;
            /** @description Their stream. */
            stream: string;
        };
        /** @description A page of dead letters. */
        DeadLetters: {
            /** @description Newest first. */
            items: components["schemas"]["DeadLetter"][];
            /** @description How many there are in this state of each kind, the largest first, whatever else is asked for; on the first page only. */
            kinds: components["schemas"]["DeadLetterKind"][];
            /** @description Give it back as `cursor` to get the next page; null after the last. */
            next_cursor?: string | null;
        };
        /**
         * @description Where a letter stands.
         * @enum {string}
         */
        DeadLetterState: "waiting" | "replayed" | "discarded";
        /** @description How many letters were given up. */
        DiscardedLetters: {
            /**
             * Format: int64
             * @description Those that waited.
             */
            discarded: number;
        };
        /** @description What went from one node to another. Null: not known (yet), or a query runs over this place as a whole. */
        EdgeFlow: {
            /**
             * Format: int64
             * @description Bytes of their values as they are in memory.
             */
            bytes?: number | null;
            /** @description The node before. */
            from: string;
            /** @description The output of that node, as the graph has it. */
            port?: string | null;
            /**
             * Format: int64
             * @description Rows.
             */
            rows?: number | null;
            /** @description The node after. */
            to: string;
        };
        /**
         * @description How an event is written.
         * @enum {string}
         */
        EventFormat: "cloudevents" | "slack";
        /** @description `run.finished`, `alert.firing`, …. */
        EventKind: string;
        /** @description Events, oldest first. */
        Events: {
            /** @description At most `limit`. */
            items: components["schemas"]["CloudEvent"][];
            /**
             * Format: int64
             * @description Give it as `after` to go on.
             */
            next_after: number;
        };
        /** @description A run that was queued. */
        Executed: {
            /** @description The run's id. */
            job_id: string;
            /** @description The pipeline's name. */
            spec_name: string;
            /** @description `queued`. */
            status: string;
        };
        /** @description What a run would take on the platform's own machines. What the sources do not tell is not guessed. */
        Expected: {
            /**
             * Format: int64
             * @description Bytes of all sources where they are kept, about; null: a source does not tell.
             */
            bytes?: number | null;
            /**
             * Format: int64
             * @description Cores that it is reckoned with.
             */
            cores: number;
            /**
             * Format: int64
             * @description The memory budget of a run; what does not fit into it is spilled to disk.
             */
            memory_bytes: number;
            /**
             * Format: int64
             * @description Rows of all sources, about; null: a source does not tell.
             */
            rows?: number | null;
            /**
             * Format: double
             * @description Seconds, from what one core was measured to do; null: neither rows nor bytes are known, or the pipeline has no end.
             */
            seconds?: number | null;
        };
        /** @description A job whose newest run failed. */
        FailingJob: {
            /** @description The error's stable code. */
            code?: string | null;
            /**
             * Format: date-time
             * @description When it ended.
             */
            failed_at?: string | null;
            /** @description The job. */
            job_id: string;
            /** @description What happened. */
            message?: string | null;
            /** @description Its name. */
            name: string;
            /** @description The run. */
            run_id: string;
        };
        /** @description An alert that holds. */
        FiringAlert: {
            /** @description The alert. */
            alert_id: string;
            /**
             * Format: date-time
             * @description Since when.
             */
            fired_at: string;
            /** @description The job. */
            job_id: string;
            /** @description What is watched; null when the rule is gone. */
            metric?: string | null;
            /** @description Its name. */
            name: string;
            /** @description Its rule. */
            rule_id: string;
            /** @description `info`, `warning`, `critical`. */
            severity?: string | null;
            /**
             * Format: double
             * @description Above this it fires.
             */
            threshold?: number | null;
            /**
             * Format: double
             * @description The value that broke the rule.
             */
            value: number;
        };
        /** @description The nodes of a pipeline and what flows between them. */
        Graph: {
            /** @description What this build says of the file now, warnings too. */
            diagnostics: components["schemas"]["ProblemPart"][];
            /** @description From each node to those that read it. */
            edges: components["schemas"]["GraphEdge"][];
            /** @description In the order of the file; empty when the file has errors that hide them. */
            nodes: components["schemas"]["GraphNode"][];
        };
        /** @description What the nodes and edges of a run have seen, over all its streams. */
        GraphCounts: {
            /**
             * Format: date-time
             * @description When it was so: two answers give a rate.
             */
            at: string;
            /** @description In the order of the graph. */
            edges: components["schemas"]["EdgeFlow"][];
            /** @description In the order of the graph. */
            nodes: components["schemas"]["NodeFlow"][];
            /** @description Where the run stands. */
            run_status: components["schemas"]["RunStatus"];
        };
        /** @description What flows from one node to another. */
        GraphEdge: {
            /** @description The node before. */
            from: string;
            /** @description The output of that node, for nodes with several. */
            port?: string | null;
            /** @description The node after. */
            to: string;
        };
        /** @description A node. */
        GraphNode: {
            /** @description The stored connection or the one of the file that it names. */
            connection?: string | null;
            /** @description The connector's or transform's name as written. */
            kind: string;
            /** @description Unique in the pipeline. */
            name: string;
            /** @description Its options, references to secrets as text. */
            options: Record<string, never>;
            /** @description What it is. */
            role: components["schemas"]["NodeRole"];
        };
        /** @description The health of the runner, as seed 001 prints it. */
        Health: {
            /** @description The parts. */
            components: components["schemas"]["HealthComponents"];
            /** @description This process. */
            runner_id: string;
            /** @description `healthy`; `unhealthy` when the database does not answer. */
            status: string;
            /** @description The tenant of this API. */
            tenant_id: string;
            /**
             * Format: double
             * @description Seconds since 1970.
             */
            timestamp: number;
        };
        /** @description The parts of the runner. */
        HealthComponents: {
            /** @description Runs that wait or go on. */
            jobs: components["schemas"]["JobsHealth"];
            /** @description Metrics. */
            metrics: components["schemas"]["MetricsHealth"];
            /** @description HashiCorp Vault. */
            vault: components["schemas"]["VaultHealth"];
        };
        /** @description A stream that waits at a sink (`on_schema_change: hold`). */
        HeldState: {
            /**
             * Format: int64
             * @description Their bytes at the source.
             */
            bytes: number;
            /**
             * Format: int64
             * @description The boundary of the last change of its shape.
             */
            change_seq: number;
            /** @description What has changed, in order: `add column note text`. */
            changes: string[];
            /** @description Why what was approved could not be carried out. */
            problem?: string | null;
            /**
             * Format: int64
             * @description Changes that wait.
             */
            rows: number;
            /**
             * Format: int64
             * @description The last boundary that its target has.
             */
            since_seq: number;
            /** @description The sink node. */
            sink: string;
            /** @description The stream. */
            stream: string;
        };
        /** @description `GET /api/v1/monitoring/history`. */
        History: {
            /** @description Jobs whose runs that ended in this time cost the most, the most first. */
            costliest_jobs: components["schemas"]["JobCost"][];
            /**
             * Format: date-time
             * @description Where the first step begins.
             */
            from: string;
            /**
             * Format: int64
             * @description Length of a step.
             */
            step_secs: number;
            /** @description Oldest first; the last one ends now. */
            steps: components["schemas"]["Step"][];
        };
        /** @description A unified ingestion spec, v1.1. `weir spec schema` has the whole schema of pipeline files. */
        IngestionSpec: {
            /** @description What is read: `connector_type` or `type`, and its parameters. */
            provider: Record<string, never>;
            /** @description `1.1`. */
            version: string;
        };
        /** @description Values of a template's parameters. */
        InstantiateBody: {
            /**
             * @description Also make a job of it.
             * @default false
             */
            create_job: boolean;
            /** @description By name. */
            parameters?: Record<string, never>;
        };
        /** @description A template with its parameters filled in. */
        Instantiated: {
            job?: components["schemas"]["Job"] | null;
            /** @description The pipeline file. */
            spec: string;
        };
        /** @description A job. */
        Job: {
            /** @description Stored connections that it uses. */
            connections: string[];
            /**
             * Format: date-time
             * @description When.
             */
            created_at: string;
            /** @description Who made it. */
            created_by: string;
            /** @description Ids of the jobs that it waits for. */
            depends_on: string[];
            /** @description Free text. */
            description?: string | null;
            /** @description Its id. */
            id: string;
            /** @description Labels. */
            labels: {
                [key: string]: string;
            };
            /** @description `batch`, `incremental`, `cdc`, `streaming`. */
            mode: string;
            /** @description Unique in the tenant. */
            name: string;
            /** @description How failed runs are tried again. */
            retry: components["schemas"]["Retry"];
            /**
             * Format: int64
             * @description Grows with each change of any kind; the ETag.
             */
            revision: number;
            schedule?: components["schemas"]["Schedule"] | null;
            /** @description Kinds of the sinks' connectors. */
            sink_kinds: string[];
            /** @description Kinds of the sources' connectors. */
            source_kinds: string[];
            /** @description The pipeline file, its secrets replaced by references. */
            spec: string;
            /** @description Whether it runs by itself. */
            status: components["schemas"]["JobStatus"];
            /** @description Whose. */
            tenant_id: string;
            /**
             * Format: int64
             * @description Seconds that a run may take; null = the platform's limit.
             */
            timeout_secs?: number | null;
            /**
             * Format: date-time
             * @description When.
             */
            updated_at: string;
            /**
             * Format: int64
             * @description Grows with each change of the spec, from 1.
             */
            version: number;
            /** @description What its author should know; only in the answer to a change. */
            warnings?: components["schemas"]["ProblemPart"][];
        };
        /** @description A pipeline file in one of its forms, or an envelope with one as text; as YAML just as well as JSON. */
        JobBody: components["schemas"]["JobEnvelope"] | components["schemas"]["JobJson"] | components["schemas"]["PipelineFile"] | components["schemas"]["IngestionSpec"];
        /** @description What a job's runs that ended in a time used. */
        JobCost: {
            /**
             * Format: double
             * @description Bytes out of the sources and to the targets.
             */
            bytes_moved: number;
            /**
             * Format: double
             * @description Estimated cost.
             */
            cost_usd: number;
            /**
             * Format: double
             * @description CPU time of their processes.
             */
            cpu_seconds: number;
            /** @description The job. */
            job_id: string;
            /** @description Its name, also when it is deleted. */
            name: string;
            /**
             * Format: int64
             * @description Runs that ended.
             */
            runs: number;
        };
        /** @description A pipeline file as text, with what the platform adds to it. */
        JobEnvelope: {
            /** @description Names or ids of jobs that it waits for. */
            depends_on?: string[];
            /** @description Else the pipeline's. */
            description?: string | null;
            /** @description Added to the pipeline's. */
            labels?: {
                [key: string]: string;
            };
            /** @description Else the pipeline's. */
            name?: string | null;
            retry?: components["schemas"]["Retry"] | null;
            schedule?: components["schemas"]["ScheduleBody"] | null;
            /** @description The pipeline file: YAML or JSON, any form; exactly one pipeline. */
            spec: string;
            /**
             * Format: int64
             * @description Seconds that a run may take.
             */
            timeout_secs?: number | null;
        };
        /** @description How a job's logs stand. */
        JobJournal: {
            /** @description One per source whose log has begun. */
            logs: components["schemas"]["LogState"][];
            /** @description A run is going on: this is already the past. */
            running: boolean;
        };
        /** @description The job JSON of seed 000. `weir spec schema` has the whole schema of pipeline files. */
        JobJson: {
            /** @description Free text. */
            description?: string | null;
            /** @description Its name. */
            name: string;
            /** @description Five cron fields. */
            schedule?: string | null;
            /** @description `connector_type`, `connection_params`, …. */
            sink?: Record<string, never> | null;
            /** @description Several of them. */
            sinks?: Record<string, never>[] | null;
            /** @description `connector_type`, `connection_params`, …. */
            source: Record<string, never>;
            /** @description `batch`, `incremental`, `cdc`, `streaming`. */
            sync_mode?: string | null;
            /** @description In order. */
            transforms?: Record<string, never>[] | null;
        };
        /** @description `GET /api/v1/jobs/{job_id}/metrics`. */
        JobMetrics: {
            /**
             * Format: date-time
             * @description From, inclusive.
             */
            from: string;
            /** @description The job. */
            job_id: string;
            /** @description One value per measure over the whole time, as alert rules fold it. `freshness` is the age of the newest data now. */
            metrics: {
                [key: string]: number;
            };
            /** @description Runs queued in that time, by status. */
            runs: {
                [key: string]: number;
            };
            /** @description Every measured value, oldest first. */
            series: {
                [key: string]: components["schemas"]["Sample"][];
            };
            /**
             * Format: int32
             * @description How far back, hours.
             */
            time_range_hours: number;
            /**
             * Format: date-time
             * @description To, exclusive.
             */
            to: string;
            /** @description There were more points than fit; the newest are here. */
            truncated: boolean;
            /** @description Unit of each measure. */
            units: {
                [key: string]: string;
            };
        };
        /** @description How far the streams of a job are. Logs of changes have their own page: `GET /jobs/{job_id}/journal`. */
        JobPositions: {
            /** @description Incremental streams: where the next run begins. */
            cursors: components["schemas"]["CursorPosition"][];
            /** @description Streams over event time, as the run that goes on told last. */
            event_time: components["schemas"]["StreamTime"][];
            /** @description A run is going on: this is already the past. */
            running: boolean;
            /** @description Streams without end, split by split: what is durable, at most a thousand. */
            splits: components["schemas"]["SplitPosition"][];
            /** @description There are more splits than that. */
            truncated: boolean;
        };
        /** @description Runs that wait or go on. */
        JobsHealth: {
            /** @description How many. */
            active_count: number;
            /** @description Which; empty for callers without a token. */
            active_jobs: string[];
        };
        /**
         * @description Whether a job runs by itself.
         * @enum {string}
         */
        JobStatus: "active" | "paused";
        /** @description A job in a listing. */
        JobSummary: {
            /**
             * Format: date-time
             * @description When.
             */
            created_at: string;
            /** @description The cron expression. */
            cron?: string | null;
            /** @description Free text. */
            description?: string | null;
            /** @description Its id. */
            id: string;
            /** @description Labels. */
            labels: {
                [key: string]: string;
            };
            last_run_status?: components["schemas"]["RunStatus"] | null;
            /** @description `batch`, `incremental`, `cdc`, `streaming`. */
            mode: string;
            /** @description Its name. */
            name: string;
            /**
             * Format: date-time
             * @description When it fires next.
             */
            next_fire_at?: string | null;
            /** @description Kinds. */
            sink_kinds: string[];
            /** @description Kinds. */
            source_kinds: string[];
            /** @description Whether it runs by itself. */
            status: components["schemas"]["JobStatus"];
            /** @description Its IANA zone. */
            timezone?: string | null;
            /**
             * Format: date-time
             * @description When.
             */
            updated_at: string;
            /**
             * Format: int64
             * @description The version of its spec.
             */
            version: number;
        };
        /** @description A kept version of a job's spec. */
        JobVersion: {
            /**
             * Format: date-time
             * @description When.
             */
            created_at: string;
            /** @description Who. */
            created_by: string;
            /** @description Why: `created`, `updated`, `rolled back to 3`. */
            note: string;
            /** @description The pipeline file. */
            spec: string;
            /**
             * Format: int64
             * @description From 1.
             */
            version: number;
        };
        /** @description How large a journal is. */
        JournalState: {
            /**
             * Format: int64
             * @description Bytes that it takes.
             */
            bytes: number;
            /**
             * Format: int64
             * @description It holds what comes after this boundary.
             */
            first: number;
            /**
             * Format: int64
             * @description The last boundary.
             */
            last: number;
            /** @description In order. */
            segments: components["schemas"]["SegmentState"][];
        };
        /** @description A job that is behind its schedule. */
        LateJob: {
            /**
             * Format: date-time
             * @description The first fire that no run has answered with success.
             */
            due_at: string;
            /** @description The job. */
            job_id: string;
            /** @description Its name. */
            name: string;
        };
        /** @description What somebody wrote instead of a record. */
        LetterCorrection: {
            /** @description When. */
            at: string;
            /** @description Who. */
            by: string;
            record?: components["schemas"]["LetterRecord"] | null;
        };
        /** @description That somebody gave a letter up. */
        LetterDiscarded: {
            /** @description When. */
            at: string;
            /** @description Who. */
            by: string;
            /** @description Why. */
            reason: string;
        };
        /** @description What is kept of a record. */
        LetterRecord: {
            /** @description The record, secrets of the job veiled. */
            content: string;
            /** @description There is more of it. */
            cut: boolean;
            /** @description `text`, or `hex` of bytes that are no UTF-8. */
            encoding: string;
            /** @description Its media type. */
            media_type: string;
            /** @description A secret of the job stands in it: it can be replayed, but not corrected here. */
            veiled: boolean;
        };
        /** @description A line of a run's log. */
        LogLine: {
            /**
             * Format: date-time
             * @description When.
             */
            at: string;
            /** @description The engine's event, if it is one. */
            event?: unknown;
            /** @description `debug`, `info`, `warning`, `error`. */
            level: string;
            /** @description For people. */
            message: string;
            /**
             * Format: int64
             * @description Number in the run, from 1.
             */
            seq: number;
        };
        /** @description Lines of a run's log. */
        Logs: {
            /** @description Oldest first. */
            items: components["schemas"]["LogLine"][];
            /**
             * Format: int64
             * @description Give it as `after` to go on.
             */
            next_after: number;
            /** @description Where the run stood when the lines were read. */
            run_status: components["schemas"]["RunStatus"];
        };
        /** @description One log. */
        LogState: {
            /** @description What was asked of the log and is still to be carried out. */
            asked: components["schemas"]["AskedState"][];
            journal?: components["schemas"]["JournalState"] | null;
            /** @description In the order of the pipeline. */
            sinks: components["schemas"]["SinkState"][];
            /** @description The source node. */
            source: string;
        };
        /** @description Who asks. */
        Me: {
            /** @description `--dev`: whoever reaches this server needs no token. */
            development: boolean;
            /** @description Its name, for people. */
            name: string;
            /** @description The principal. */
            principal_id: string;
            /** @description What it may do with this token. */
            role: components["schemas"]["Role"];
            /** @description `METHOD /path-prefix` patterns of the token; empty = all that the role may. */
            scopes: string[];
            /** @description The tenant that is asked for. */
            tenant_id: string;
        };
        /** @description A value at a moment. */
        Measured: {
            /**
             * Format: date-time
             * @description When.
             */
            at: string;
            /**
             * Format: double
             * @description How much.
             */
            value?: number | null;
        };
        /** @description Metrics. */
        MetricsHealth: {
            /** @description `prometheus`. */
            registry_type: string;
            /** @description `enabled` or `disabled`: whether there is a second listener for them. */
            status: string;
        };
        /** @description A principal to be made. */
        NewPrincipal: {
            /** @description Person or program. */
            kind: components["schemas"]["PrincipalKind"];
            /** @description Unique in the tenant: a login, an e-mail address. */
            name: string;
            /** @description `issuer|subject` of its OIDC token. */
            oidc_subject?: string | null;
            /** @description What it may do. */
            role: components["schemas"]["Role"];
        };
        /** @description Somebody to be told. */
        NewSubscriptionBody: {
            /** @description How it is written. */
            format?: components["schemas"]["EventFormat"];
            /** @description The key of the signatures; absent = a new one. */
            key?: string | null;
            /** @description Which kinds; empty = all. */
            kinds?: components["schemas"]["EventKind"][];
            /**
             * Format: uri
             * @description `http` or `https`, without user and password.
             */
            url: string;
        };
        /** @description A tenant to be made. */
        NewTenant: {
            /** @description A DNS label; it cannot be changed. */
            id: string;
            /** @description For people. */
            name: string;
            /** @description Its limits. */
            quotas?: components["schemas"]["Quotas"];
        };
        /** @description A token to be made. */
        NewTokenBody: {
            /**
             * Format: date-time
             * @description From then on it is refused.
             */
            expires_at?: string | null;
            /** @description For people. */
            name: string;
            /** @description Whose it is. */
            principal_id: string;
            role?: components["schemas"]["Role"] | null;
            /** @description `METHOD /path-prefix` patterns, `*` for any method; empty = all that the role may. */
            scopes?: components["schemas"]["Scope"][];
        };
        /** @description What a node took in and gave out. Null: not known (yet), or nothing of the kind. */
        NodeFlow: {
            /**
             * Format: int64
             * @description Bytes of their values.
             */
            bytes_in?: number | null;
            /**
             * Format: int64
             * @description Bytes of their values; of a sink those at the target, at the end.
             */
            bytes_out?: number | null;
            /** @description The node. */
            node: string;
            /**
             * Format: int64
             * @description Rows that it set aside.
             */
            rows_dead: number;
            /**
             * Format: int64
             * @description Rows in, over all its inputs; a source has none.
             */
            rows_in?: number | null;
            /**
             * Format: int64
             * @description Rows out; of a sink those handed to it.
             */
            rows_out?: number | null;
        };
        /**
         * @description What a node is.
         * @enum {string}
         */
        NodeRole: "source" | "transform" | "sink";
        /**
         * @description What happens when a schedule fires while a run is going.
         * @enum {string}
         */
        Overlap: "skip" | "queue";
        /** @description A page of a listing. */
        PageOfAlert: {
            items: components["schemas"]["Alert"][];
            /** @description Give it back as `cursor` to get the next page; null after the last. */
            next_cursor: string | null;
        };
        /** @description A page of a listing. */
        PageOfAuditRow: {
            items: components["schemas"]["AuditRow"][];
            /** @description Give it back as `cursor` to get the next page; null after the last. */
            next_cursor: string | null;
        };
        /** @description A page of a listing. */
        PageOfConnection: {
            items: components["schemas"]["Connection"][];
            /** @description Give it back as `cursor` to get the next page; null after the last. */
            next_cursor: string | null;
        };
        /** @description A page of a listing. */
        PageOfJobSummary: {
            items: components["schemas"]["JobSummary"][];
            /** @description Give it back as `cursor` to get the next page; null after the last. */
            next_cursor: string | null;
        };
        /** @description A page of a listing. */
        PageOfJobVersion: {
            items: components["schemas"]["JobVersion"][];
            /** @description Give it back as `cursor` to get the next page; null after the last. */
            next_cursor: string | null;
        };
        /** @description A page of a listing. */
        PageOfPrincipal: {
            items: components["schemas"]["Principal"][];
            /** @description Give it back as `cursor` to get the next page; null after the last. */
            next_cursor: string | null;
        };
        /** @description A page of a listing. */
        PageOfRun: {
            items: components["schemas"]["Run"][];
            /** @description Give it back as `cursor` to get the next page; null after the last. */
            next_cursor: string | null;
        };
        /** @description A page of a listing. */
        PageOfTenant: {
            items: components["schemas"]["Tenant"][];
            /** @description Give it back as `cursor` to get the next page; null after the last. */
            next_cursor: string | null;
        };
        /** @description A page of a listing. */
        PageOfToken: {
            items: components["schemas"]["Token"][];
            /** @description Give it back as `cursor` to get the next page; null after the last. */
            next_cursor: string | null;
        };
        /** @description What can be chosen. */
        Parameter: {
            /** @description The words of a `choice`. */
            choices?: string[];
            /** @description What it is when it is not given. */
            default?: unknown;
            /** @description What it means. */
            description: string;
            /** @description A value that would do. */
            example?: unknown;
            /** @description The connector of a `connection`. */
            kind?: string | null;
            /** @description Its name. */
            name: string;
            /** @description Whether it must be given. */
            required?: boolean;
            /** @description What values it takes. */
            type: components["schemas"]["ParameterType"];
        };
        /**
         * @description What values a parameter takes.
         * @enum {string}
         */
        ParameterType: "name" | "identifier" | "path" | "url" | "text" | "list" | "map" | "integer" | "boolean" | "choice" | "cron" | "connection";
        /** @description A pipeline file in the native form. `weir spec schema` has the whole schema of pipeline files. */
        PipelineFile: {
            /** @description The pipeline's name. */
            pipeline: string;
        };
        /** @description What a run of a pipeline would do. */
        PipelinePlan: {
            /** @description Everything found, by the checker and by planning; with an error among it a run would be refused. */
            diagnostics: components["schemas"]["ProblemPart"][];
            /** @description Why there is no plan although the pipeline is right: code, message, cause, hint. */
            error?: Record<string, never> | null;
            expected?: components["schemas"]["Expected"] | null;
            /** @description Flows, columns, guarantee, actions and the recommended engine with its reasons, as `weir plan --json` prints them; null where there is no plan. */
            plan?: Record<string, never> | null;
            /** @description The same for people. */
            text?: string | null;
        };
        /** @description What flows through a pipeline. */
        PipelinePreview: {
            /** @description What the checker says; with an error among it nothing was read. */
            diagnostics: components["schemas"]["ProblemPart"][];
            /** @description Why there is nothing: code, message, cause, hint. */
            error?: Record<string, never> | null;
            /**
             * @description Each source and each transform with what comes out of it: `step`, `node`, `role`, `kind`, `streams` (`stream`, `columns`, `rows` of texts,
             *     `masked_columns`, `filtered`, `dead_letters`), or `error`.
             */
            steps: Record<string, never>[];
        };
        /** @description Who acts. */
        Principal: {
            /**
             * Format: date-time
             * @description When.
             */
            created_at: string;
            /** @description Refused, whatever token it shows. */
            disabled: boolean;
            /** @description Its id. */
            id: string;
            /** @description Person or program. */
            kind: components["schemas"]["PrincipalKind"];
            /** @description Unique in the tenant. */
            name: string;
            /** @description `issuer|subject` of its OIDC token. */
            oidc_subject?: string | null;
            /** @description What it may do. */
            role: components["schemas"]["Role"];
            /**
             * Format: int64
             * @description Grows with each change; the ETag.
             */
            version: number;
        };
        /**
         * @description Person or program.
         * @enum {string}
         */
        PrincipalKind: "user" | "service_account";
        /** @description A principal's changeable parts, all of them. */
        PrincipalUpdate: {
            /** @description Refused, whatever token it shows. */
            disabled: boolean;
            /** @description What it may do. */
            role: components["schemas"]["Role"];
        };
        /** @description Whether a probe is content. */
        Probe: {
            /** @description `ok`. */
            status: string;
        };
        /** @description Why a request was refused. */
        Problem: {
            /** @description Stable code, `WEIR-<AREA>-<NNN>`. */
            code: string;
            /** @description What happened, where and why. */
            detail: string;
            /** @description Each problem of a body or pipeline file on its own, with its place. */
            errors?: components["schemas"]["ProblemPart"][];
            /** @description What to do. */
            hint?: string | null;
            /**
             * Format: uri-reference
             * @description The request: `urn:weir:request:<X-Request-Id>`.
             */
            instance: string;
            /**
             * Format: int32
             * @description The HTTP status.
             */
            status: number;
            /** @description The status in words. */
            title: string;
            /**
             * Format: uri-reference
             * @description A stable URI for the code; it need not answer.
             */
            type: string;
        };
        /** @description One of several problems. */
        ProblemPart: {
            /** @description Stable code. */
            code?: string | null;
            /**
             * Format: int64
             * @description Column in the text, from 1.
             */
            column?: number | null;
            /** @description What to do. */
            help?: string | null;
            /**
             * Format: int64
             * @description Line in the text, from 1.
             */
            line?: number | null;
            /** @description What is wrong. */
            message: string;
            /** @description Where in the body: `/labels/team`, or a path of the pipeline file. */
            path?: string | null;
            /** @description `error` or `warning`. */
            severity?: string | null;
        };
        /** @description What waits and what goes on. */
        Queue: {
            /**
             * Format: double
             * @description How long the oldest has been waiting, seconds.
             */
            oldest_queued_seconds: number;
            /**
             * Format: int64
             * @description Runs that wait.
             */
            queued: number;
            /**
             * Format: int64
             * @description Runs that go on.
             */
            running: number;
        };
        /** @description Limits; null or absent = none of its own. */
        Quotas: {
            /**
             * Format: int64
             * @description Bytes written in a UTC day.
             * @default null
             */
            max_bytes_per_day: number | null;
            /**
             * Format: int64
             * @description Runs at the same time.
             * @default null
             */
            max_concurrent_runs: number | null;
            /**
             * Format: int64
             * @description CPU seconds of a run.
             * @default null
             */
            max_cpu_secs_per_run: number | null;
            /**
             * Format: int64
             * @description Memory of a run, bytes.
             * @default null
             */
            max_memory_bytes_per_run: number | null;
            /**
             * Format: int64
             * @description Jobs.
             * @default null
             */
            max_pipelines: number | null;
            /**
             * Format: int64
             * @description Rows written in a UTC day.
             * @default null
             */
            max_rows_per_day: number | null;
            /**
             * Format: int64
             * @description Bytes in the tenant's folder.
             * @default null
             */
            max_storage_bytes: number | null;
        };
        /** @description A tenant's limits and what it has used of them. */
        QuotaUse: {
            /** @description Its limits. */
            quotas: components["schemas"]["Quotas"];
            /** @description The tenant. */
            tenant_id: string;
            /** @description What it has used. */
            usage: components["schemas"]["Usage"];
        };
        /** @description What a rule would have done. */
        Rehearsal: {
            /** @description When it would have fired, oldest first. */
            alerts: components["schemas"]["Rehearsed"][];
            /**
             * Format: date-time
             * @description From, inclusive.
             */
            from: string;
            /**
             * Format: date-time
             * @description To.
             */
            to: string;
            /** @description There was more than fits: what is told is about the newest values, or about some moments only. */
            truncated: boolean;
            /** @description `rows`, `seconds`, …; null for a metric of one's own. */
            unit?: string | null;
            /** @description The folded value at each moment, oldest first; null where the window was empty: it says nothing then. */
            values: components["schemas"]["Measured"][];
        };
        /** @description An alert that would have been. */
        Rehearsed: {
            /**
             * Format: date-time
             * @description When it would have fired.
             */
            fired_at: string;
            /**
             * Format: double
             * @description The highest value meanwhile.
             */
            highest: number;
            /**
             * Format: date-time
             * @description When it would have been resolved; null: it would still hold.
             */
            resolved_at?: string | null;
        };
        /** @description How failed runs are tried again. */
        Retry: {
            /**
             * Format: int32
             * @description Before the second attempt; doubles each time.
             */
            backoff_secs: number;
            /**
             * Format: int32
             * @description Attempts altogether.
             */
            max_attempts: number;
            /**
             * Format: int32
             * @description At most.
             */
            max_backoff_secs: number;
        };
        /**
         * @description What a principal or token may do.
         * @enum {string}
         */
        Role: "viewer" | "operator" | "editor" | "admin" | "platform-admin";
        /** @description Which version to go back to. */
        Rollback: {
            /**
             * Format: int64
             * @description A kept version.
             */
            version: number;
        };
        /** @description A rule as it is sent: seed 000 writes the window as `5m`. */
        RuleBody: {
            /** @description Who is told. */
            action?: components["schemas"]["Action"];
            /** @description What is watched: `error_rate`, `processing_lag`, `rows_written`, …. */
            metric: string;
            /** @description `info`, `warning`, `critical`. */
            severity?: components["schemas"]["Severity"];
            /**
             * Format: double
             * @description It fires above this.
             */
            threshold: number;
            /**
             * @description Over this long: `30s`, `5m`, `1h`, `1d`.
             * @default 5m
             */
            window: string;
        };
        /** @description `{"alert_rules": […]}`, as seed 000 writes it. */
        RuleList: {
            /** @description The new rules. */
            alert_rules: components["schemas"]["RuleBody"][];
        };
        /** @description A list, or an object with `alert_rules`, replaces the job's rules; a single rule is added to them. */
        RulesBody: components["schemas"]["RuleBody"][] | components["schemas"]["RuleList"] | components["schemas"]["RuleBody"];
        /** @description A run. */
        Run: {
            /**
             * Format: int32
             * @description Attempts so far.
             */
            attempt: number;
            /** @description Somebody asked to stop it. */
            cancel_requested: boolean;
            /**
             * Format: date-time
             * @description When nothing more will happen.
             */
            ended_at?: string | null;
            /** @description Why it failed: code, kind, message, place, cause, hint. */
            error?: unknown;
            /** @description Its id. */
            id: string;
            /** @description Of which job. */
            job_id: string;
            /** @description The job's name, also when it is deleted. */
            job_name: string;
            /**
             * Format: int64
             * @description The job's version that it executes.
             */
            job_version: number;
            /**
             * Format: date-time
             * @description When.
             */
            queued_at: string;
            /** @description The engine's report, at the end. */
            report?: unknown;
            /** @description CPU seconds, peak memory, bytes moved, estimated cost. */
            resources?: unknown;
            /**
             * Format: date-time
             * @description Of the newest attempt.
             */
            started_at?: string | null;
            /** @description Where it stands. */
            status: components["schemas"]["RunStatus"];
            /** @description Rows and bytes per stream. */
            streams: components["schemas"]["StreamCounts"][];
            /** @description W3C trace id. */
            trace_id?: string | null;
            /** @description Why it exists. */
            trigger: components["schemas"]["Trigger"];
            /** @description The worker that has or had it. */
            worker?: string | null;
        };
        /** @description The pipeline that a run executes, and what has passed. */
        RunGraph: {
            /** @description What has passed. */
            counts: components["schemas"]["GraphCounts"];
            /** @description The pipeline in the run's version. */
            graph: components["schemas"]["Graph"];
        };
        /**
         * @description Where a run stands.
         * @enum {string}
         */
        RunStatus: "queued" | "running" | "succeeded" | "failed" | "cancelled" | "skipped";
        /** @description One measured value. */
        Sample: {
            /**
             * Format: date-time
             * @description When.
             */
            at: string;
            /** @description Of which run. */
            run_id?: string | null;
            /**
             * Format: double
             * @description How much.
             */
            value: number;
        };
        /** @description When a job runs by itself. */
        Schedule: {
            /** @description After a time without a scheduler. */
            catch_up: components["schemas"]["CatchUp"];
            /** @description Five cron fields. */
            cron: string;
            /**
             * Format: int32
             * @description Each fire is delayed by a fixed amount below this.
             */
            jitter_secs: number;
            /**
             * Format: date-time
             * @description The next fire, without jitter.
             */
            next_fire_at: string;
            /** @description While a run is going. */
            overlap: components["schemas"]["Overlap"];
            /** @description IANA zone. */
            timezone: string;
        };
        /** @description When a job runs by itself. */
        ScheduleBody: {
            /** @description After a time without a scheduler. */
            catch_up?: components["schemas"]["CatchUp"];
            /** @description Five cron fields. */
            cron: string;
            /**
             * Format: int32
             * @description Each fire is delayed by a fixed amount below this.
             */
            jitter_secs?: number;
            /** @description While a run is going. */
            overlap?: components["schemas"]["Overlap"];
            /**
             * @description IANA zone.
             * @default UTC
             */
            timezone: string;
        };
        /** @description A schedule, looked at. */
        SchedulePreview: {
            /** @description The cron fields. */
            cron: string;
            /** @description The next fires, oldest first. */
            next: string[];
            /** @description The zone. */
            timezone: string;
            /** @description `every 6 hours`. */
            words: string;
        };
        /** @description `METHOD /path-prefix`. */
        Scope: string;
        /** @description A secret's name. */
        SecretName: {
            /** @description The name. */
            name: string;
            /**
             * Format: date-time
             * @description When it was last set.
             */
            updated_at: string;
        };
        /** @description A value to keep. */
        SecretValue: {
            /** @description The value. */
            value: string;
        };
        /** @description A part of a journal. */
        SegmentState: {
            /**
             * Format: int64
             * @description The boundary before it.
             */
            after: number;
            /**
             * Format: int64
             * @description Bytes.
             */
            bytes: number;
        };
        /** @description A setting in effect. Secrets are `***`. */
        Setting: {
            /** @description The flag that sets it. */
            flag?: string | null;
            /** @description Its key in the configuration file. */
            key: string;
            /** @description `default`, the file, the variable or the flag that it came from. */
            origin: string;
            /** @description Its value; null: it has none. */
            value: unknown;
            /** @description Variables of the environment that set it. */
            variables: string[];
        };
        /**
         * @description How bad it is.
         * @enum {string}
         */
        Severity: "info" | "warning" | "critical";
        /** @description No notifications of a job, or of all, for a while. */
        Silence: {
            /** @description Of one job; null = all of the tenant. */
            job_id?: string | null;
            /** @description Why. */
            reason: string;
            /**
             * Format: date-time
             * @description Until when.
             */
            until: string;
        };
        /** @description A silence that holds. */
        SilenceHeld: {
            /** @description Its id. */
            id: string;
            /** @description Of one job; null = all of the tenant. */
            job_id?: string | null;
            /** @description Why. */
            reason: string;
            /**
             * Format: date-time
             * @description Until when.
             */
            until: string;
        };
        /** @description How far a sink is. */
        SinkState: {
            /**
             * Format: int64
             * @description Boundaries that it lacks.
             */
            behind: number;
            /** @description Streams that wait for an approval. */
            held?: components["schemas"]["HeldState"][];
            /**
             * Format: int64
             * @description The boundary that is durable in it, by its last checkpoint; null: nothing has come to it yet.
             */
            seq?: number | null;
            /** @description The sink node. */
            sink: string;
        };
        /** @description The snapshot that was asked for. */
        SnapshotAsked: {
            /** @description A run is going on: it begins with the snapshot within seconds. Else the next one does. */
            running: boolean;
            /** @description The source node. */
            source: string;
            /** @description The stream. */
            stream: string;
        };
        /** @description What is read once more. */
        SnapshotBody: {
            /** @description The stream, as discovery names it. */
            stream: string;
            /** @description Only the rows for which this holds, in the source's SQL; all if absent. */
            where?: string | null;
        };
        /** @description How far a split is. */
        SplitPosition: {
            /** @description It is closed for good at the source. */
            done: boolean;
            /**
             * Format: int64
             * @description About how many rows of it wait at the source, while a run goes on and the source tells; of those that are furthest behind.
             */
            lag_rows?: number | null;
            /** @description The connector's own position (an offset, an id); null: nothing is durable yet. */
            position?: unknown;
            /**
             * Format: int64
             * @description Rows read from it since the run began, dead letters included.
             */
            rows: number;
            /** @description As the connector names it: a partition, a topic. */
            split: string;
            /** @description The stream. */
            stream: string;
        };
        /** @description What was measured in one step. */
        Step: {
            /**
             * Format: double
             * @description Bytes that came to sinks.
             */
            bytes: number;
            /**
             * Format: double
             * @description Runs that failed.
             */
            failed: number;
            /**
             * Format: double
             * @description The longest that a run ended behind the time when it was due, seconds; null if none ended.
             */
            lag_seconds?: number | null;
            /**
             * Format: double
             * @description Rows that came to sinks.
             */
            rows: number;
            /**
             * Format: double
             * @description Runs that ended well.
             */
            succeeded: number;
        };
        /** @description Rows of one stream. */
        StreamCounts: {
            /**
             * Format: int64
             * @description Read.
             */
            bytes_read: number;
            /**
             * Format: int64
             * @description At the target.
             */
            bytes_written: number;
            /**
             * Format: int64
             * @description Of a stream without end: about how many rows wait at the source, if it tells.
             */
            lag_rows?: number | null;
            /** @description Stream. */
            name: string;
            /**
             * Format: int64
             * @description Dead letters.
             */
            rows_dead: number;
            /**
             * Format: int64
             * @description Taken out.
             */
            rows_filtered: number;
            /**
             * Format: int64
             * @description Out of the source.
             */
            rows_read: number;
            /**
             * Format: int64
             * @description Visible in the sink.
             */
            rows_written: number;
        };
        /** @description How far event time is in a stream. */
        StreamTime: {
            /**
             * Format: int64
             * @description How far it was behind the clock, milliseconds.
             */
            lag_ms?: number | null;
            /**
             * Format: int64
             * @description Rows that came behind the watermark since the run began.
             */
            rows_late: number;
            /**
             * Format: int64
             * @description Memory that open windows, joins and memories take.
             */
            state_bytes: number;
            /** @description The stream. */
            stream: string;
            /**
             * Format: date-time
             * @description No row older than this is expected; null: not every split has given a row.
             */
            watermark?: string | null;
        };
        /** @description Who is told. */
        Subscription: {
            /**
             * Format: date-time
             * @description When.
             */
            created_at: string;
            /** @description How it is written. */
            format: string;
            /** @description Its id. */
            id: string;
            /** @description Which kinds; empty = all. */
            kinds: string[];
            /** @description Where to: scheme, host and port. What follows them may be a secret and is shown as `***`. */
            url: string;
        };
        /** @description A template as listings show it. */
        Template: {
            /** @description Whether this build can run it. */
            available: boolean;
            /** @description One of `data-lake`, `cdc`, `streaming`, `etl`. */
            category: string;
            /** @description What it does, and what it does not. */
            description: string;
            /** @description Its id. */
            id: string;
            /** @description What can be chosen. */
            parameters: components["schemas"]["Parameter"][];
            /** @description Connector that this build may lack. */
            requires?: string | null;
            /** @description For people. */
            title: string;
        };
        /** @description A template with its text. */
        TemplateDetail: {
            /** @description The pipeline with its examples and defaults filled in. */
            example: string;
            /** @description The pipeline with `<<name>>` for each parameter. */
            spec: string;
            /** @description The template. */
            template: components["schemas"]["Template"];
        };
        /** @description A tenant. */
        Tenant: {
            /**
             * Format: date-time
             * @description When.
             */
            created_at: string;
            /** @description Its id, a DNS label. */
            id: string;
            /** @description For people. */
            name: string;
            /** @description Its limits. */
            quotas: components["schemas"]["Quotas"];
            /** @description Whether it may do anything. */
            status: components["schemas"]["TenantStatus"];
            /**
             * Format: int64
             * @description Grows with each change; the ETag.
             */
            version: number;
        };
        /**
         * @description Whether a tenant may do anything.
         * @enum {string}
         */
        TenantStatus: "active" | "suspended" | "removed";
        /**
         * @description Whether a tenant shall do anything. Removing is an operation of its own.
         * @enum {string}
         */
        TenantSwitch: "active" | "suspended";
        /** @description A tenant's changeable parts, all of them. */
        TenantUpdate: {
            /** @description For people. */
            name: string;
            /** @description Its limits. */
            quotas: components["schemas"]["Quotas"];
            /** @description Whether it may do anything. */
            status: components["schemas"]["TenantSwitch"];
        };
        /** @description Rows and bytes. */
        Throughput: {
            /**
             * Format: double
             * @description Bytes a second over the last quarter of an hour, all runs together.
             */
            bytes_per_second: number;
            /**
             * Format: double
             * @description Bytes written today by runs that ended.
             */
            bytes_today: number;
            /**
             * Format: double
             * @description Rows a second over the last quarter of an hour, all runs together.
             */
            rows_per_second: number;
            /**
             * Format: double
             * @description Rows written today by runs that ended.
             */
            rows_today: number;
        };
        /** @description A token, without its secret. */
        Token: {
            /**
             * Format: date-time
             * @description When.
             */
            created_at: string;
            /**
             * Format: date-time
             * @description From then on it is refused.
             */
            expires_at?: string | null;
            /** @description Its id. */
            id: string;
            /**
             * Format: date-time
             * @description About when it was last used.
             */
            last_used_at?: string | null;
            /** @description For people. */
            name: string;
            /** @description The first characters, to recognise it by. */
            prefix: string;
            /** @description Whose it is. */
            principal_id: string;
            /**
             * Format: date-time
             * @description Since then it is refused.
             */
            revoked_at?: string | null;
            /** @description At most this role. */
            role: components["schemas"]["Role"];
            /** @description `METHOD /path-prefix` patterns; empty = all that the role may. */
            scopes: string[];
        };
        /** @description Why a run exists. */
        Trigger: {
            /**
             * Format: date-time
             * @description The schedule's fire.
             */
            fire_at?: string | null;
            /** @description `manual`, `schedule`, `dependency`, `replay` (of dead letters). */
            kind: string;
            /** @description The run that succeeded. */
            run_id?: string | null;
        };
        /** @description What a pipeline says. */
        Understood: {
            /** @description Stored connections that it needs. */
            connections: string[];
            /** @description `batch`, `incremental`, `cdc`, `streaming`. */
            mode: string;
            /** @description Its name. */
            name: string;
            /** @description Its schedule in words. */
            schedule?: string | null;
            /** @description Kinds of its sinks. */
            sinks: string[];
            /** @description Kinds of its sources. */
            sources: string[];
        };
        /** @description What a tenant has used. */
        Usage: {
            /**
             * Format: int64
             * @description Bytes written today (UTC).
             */
            bytes_today: number;
            /**
             * Format: int64
             * @description Runs now.
             */
            concurrent_runs: number;
            /**
             * Format: int64
             * @description Jobs.
             */
            pipelines: number;
            /**
             * Format: int64
             * @description Rows written today (UTC).
             */
            rows_today: number;
        };
        /** @description What creating a job of a pipeline would say. */
        Validation: {
            /** @description Everything found, in file order; warnings too. */
            diagnostics: components["schemas"]["ProblemPart"][];
            pipeline?: components["schemas"]["Understood"] | null;
            /** @description Whether it could be stored and run. */
            valid: boolean;
        };
        /** @description HashiCorp Vault, as seed 001 prints it. */
        VaultHealth: {
            /** @description It has been set up. */
            initialized: boolean;
            /** @description It is locked. */
            sealed: boolean;
            /** @description `healthy`, `unhealthy`, `disabled`, or `unknown` before the first answer. */
            status: string;
        };
        /** @description The worst value and whose it is. */
        Worst: {
            /** @description The job. */
            job_id?: string | null;
            /**
             * Format: double
             * @description Seconds; 0 if there is none.
             */
            max_seconds: number;
            /** @description Its name. */
            name?: string | null;
        };
    };
    responses: {
        /** @description The caller has it already. */
        NotModified: {
            headers: {
                ETag: components["headers"]["ETag"];
                [name: string]: unknown;
            };
            content?: never;
        };
        /** @description Anything else that went wrong. */
        Problem: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description The request does not have the documented shape. */
        Problem400: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description No valid token. */
        Problem401: {
            headers: {
                "WWW-Authenticate": components["headers"]["WWW-Authenticate"];
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description The token's role or scopes do not allow this, or it is another tenant's. */
        Problem403: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description There is no such thing for this tenant. */
        Problem404: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description The body did not arrive in time. */
        Problem408: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description It conflicts with what is there. */
        Problem409: {
            headers: {
                "Retry-After": components["headers"]["Retry-After"];
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description The resource has another version than `If-Match` says. */
        Problem412: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description The body is too long. */
        Problem413: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description Not a media type that this operation takes. */
        Problem415: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description The request has the right shape but cannot be done as it is. */
        Problem422: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description A limit or quota is reached. */
        Problem429: {
            headers: {
                "Retry-After": components["headers"]["Retry-After"];
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description Not at the moment. */
        Problem503: {
            headers: {
                "Retry-After": components["headers"]["Retry-After"];
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
    };
    parameters: {
        /** @description The same key and request give the first answer again for 24 hours. */
        IdempotencyKey: string;
        /** @description Only if the resource still has this ETag (one), or `*`. */
        IfMatch: string;
        /** @description 304 if the resource still has this ETag. */
        IfNoneMatch: string;
        /** @description Go on after this event; a value that is no number is not looked at. */
        LastEventId: string;
        /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
        RequestId: string;
        /** @description Act for another tenant; for platform-admins only. */
        Tenant: string;
    };
    requestBodies: never;
    headers: {
        /** @description The resource's version. */
        ETag: string;
        /** @description This answer was given before for the same Idempotency-Key. */
        "Idempotent-Replayed": "true";
        /** @description Where the new resource is. */
        Location: string;
        /** @description Seconds to wait. */
        "Retry-After": number;
        /** @description How to authenticate. */
        "WWW-Authenticate": string;
        /** @description The request's id, as sent or new. */
        "X-Request-Id": string;
    };
    pathItems: never;
}
export type $defs = Record<string, never>;
export interface operations {
    listAlerts: {
        parameters: {
            query?: {
                /** @description `next_cursor` of the page before. */
                cursor?: string;
                /** @description Only of this job. */
                job_id?: string;
                /** @description Rows at most. */
                limit?: number;
                /** @description Only in this state. */
                state?: "firing" | "resolved";
            };
            header?: {
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["PageOfAlert"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            422: components["responses"]["Problem422"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    listAudit: {
        parameters: {
            query?: {
                /** @description Only this action: `job.create`. */
                action?: string;
                /** @description Only by this principal. */
                actor?: string;
                /** @description `next_cursor` of the page before. */
                cursor?: string;
                /** @description Rows at most. */
                limit?: number;
                /** @description Not older than this. */
                since?: string;
            };
            header?: {
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["PageOfAuditRow"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            422: components["responses"]["Problem422"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    verifyAudit: {
        parameters: {
            query?: never;
            header?: {
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["AuditCheck"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    getConfig: {
        parameters: {
            query?: never;
            header?: {
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["AllOfSetting"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    listConnections: {
        parameters: {
            query?: {
                /** @description `next_cursor` of the page before. */
                cursor?: string;
                /** @description Rows at most. */
                limit?: number;
            };
            header?: {
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["PageOfConnection"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            422: components["responses"]["Problem422"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    createConnection: {
        parameters: {
            query?: never;
            header?: {
                /** @description The same key and request give the first answer again for 24 hours. */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "name": "warehouse",
                 *       "kind": "postgres",
                 *       "options": {
                 *         "host": "db.example.com",
                 *         "database": "shop",
                 *         "user": "weir",
                 *         "password": "{{warehouse_password}}"
                 *       }
                 *     }
                 */
                "application/json": components["schemas"]["ConnectionBody"];
            };
        };
        responses: {
            /** @description Created */
            201: {
                headers: {
                    ETag: components["headers"]["ETag"];
                    "Idempotent-Replayed": components["headers"]["Idempotent-Replayed"];
                    Location: components["headers"]["Location"];
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Connection"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            408: components["responses"]["Problem408"];
            409: components["responses"]["Problem409"];
            413: components["responses"]["Problem413"];
            415: components["responses"]["Problem415"];
            422: components["responses"]["Problem422"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    getConnection: {
        parameters: {
            query?: never;
            header?: {
                /** @description 304 if the resource still has this ETag. */
                "If-None-Match"?: components["parameters"]["IfNoneMatch"];
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path: {
                /** @description The connection. */
                connection_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    ETag: components["headers"]["ETag"];
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Connection"];
                };
            };
            304: components["responses"]["NotModified"];
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    updateConnection: {
        parameters: {
            query?: never;
            header?: {
                /** @description Only if the resource still has this ETag (one), or `*`. */
                "If-Match"?: components["parameters"]["IfMatch"];
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path: {
                /** @description The connection. */
                connection_id: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "name": "warehouse",
                 *       "kind": "postgres",
                 *       "options": {
                 *         "host": "db.example.com",
                 *         "database": "shop",
                 *         "user": "weir",
                 *         "password": "{{warehouse_password}}"
                 *       }
                 *     }
                 */
                "application/json": components["schemas"]["ConnectionBody"];
            };
        };
        responses: {
            /** @description OK */
            200: {
                headers: {
                    ETag: components["headers"]["ETag"];
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Connection"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            408: components["responses"]["Problem408"];
            409: components["responses"]["Problem409"];
            412: components["responses"]["Problem412"];
            413: components["responses"]["Problem413"];
            415: components["responses"]["Problem415"];
            422: components["responses"]["Problem422"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    deleteConnection: {
        parameters: {
            query?: never;
            header?: {
                /** @description Only if the resource still has this ETag (one), or `*`. */
                "If-Match"?: components["parameters"]["IfMatch"];
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path: {
                /** @description The connection. */
                connection_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description No Content */
            204: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            409: components["responses"]["Problem409"];
            412: components["responses"]["Problem412"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    testConnection: {
        parameters: {
            query?: never;
            header?: {
                /** @description The same key and request give the first answer again for 24 hours. */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path: {
                /** @description The connection. */
                connection_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "Idempotent-Replayed": components["headers"]["Idempotent-Replayed"];
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ConnectionTest"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            408: components["responses"]["Problem408"];
            409: components["responses"]["Problem409"];
            413: components["responses"]["Problem413"];
            422: components["responses"]["Problem422"];
            429: components["responses"]["Problem429"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    testConnectionDraft: {
        parameters: {
            query?: never;
            header?: {
                /** @description The same key and request give the first answer again for 24 hours. */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "name": "warehouse",
                 *       "kind": "postgres",
                 *       "options": {
                 *         "host": "db.example.com",
                 *         "database": "shop",
                 *         "user": "weir",
                 *         "password": "{{warehouse_password}}"
                 *       }
                 *     }
                 */
                "application/json": components["schemas"]["ConnectionBody"];
            };
        };
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "Idempotent-Replayed": components["headers"]["Idempotent-Replayed"];
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ConnectionTest"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            408: components["responses"]["Problem408"];
            409: components["responses"]["Problem409"];
            413: components["responses"]["Problem413"];
            415: components["responses"]["Problem415"];
            422: components["responses"]["Problem422"];
            429: components["responses"]["Problem429"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    listConnectors: {
        parameters: {
            query?: never;
            header?: {
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Connectors"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    listEvents: {
        parameters: {
            query?: {
                /** @description Go on after this number. */
                after?: number;
                /** @description Rows at most. */
                limit?: number;
            };
            header?: {
                /** @description Go on after this event; a value that is no number is not looked at. */
                "Last-Event-ID"?: components["parameters"]["LastEventId"];
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Events"];
                    "text/event-stream": string;
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    listJobs: {
        parameters: {
            query?: {
                /** @description Only with this stored connection. */
                connection?: string;
                /** @description Only with a source or sink of this kind. */
                connector?: string;
                /** @description `next_cursor` of the page before. */
                cursor?: string;
                /**
                 * @description Only with this label: `name:value`.
                 * @example team:data
                 */
                label?: string;
                /** @description Rows at most. */
                limit?: number;
                /** @description Only in this mode. */
                mode?: "batch" | "incremental" | "cdc" | "streaming";
                /** @description Part of the name, in any case. */
                name?: string;
                /** @description By what; `-`: the largest first. `-created_at` if absent. */
                sort?: "-created_at" | "created_at" | "name" | "-name" | "status" | "-status" | "last_run_at" | "-last_run_at" | "last_run_status" | "-last_run_status";
                /** @description Only in this state. */
                status?: "active" | "paused";
            };
            header?: {
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["PageOfJobSummary"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            422: components["responses"]["Problem422"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    createJob: {
        parameters: {
            query?: never;
            header?: {
                /** @description The same key and request give the first answer again for 24 hours. */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "name": "orders to parquet",
                 *       "source": {
                 *         "connector_type": "file",
                 *         "connection_params": {
                 *           "path": "orders.csv"
                 *         }
                 *       },
                 *       "sink": {
                 *         "connector_type": "file",
                 *         "connection_params": {
                 *           "path": "out/orders.parquet"
                 *         }
                 *       },
                 *       "sync_mode": "batch"
                 *     }
                 */
                "application/json": components["schemas"]["JobBody"];
                /**
                 * @example {
                 *       "name": "orders to parquet",
                 *       "source": {
                 *         "connector_type": "file",
                 *         "connection_params": {
                 *           "path": "orders.csv"
                 *         }
                 *       },
                 *       "sink": {
                 *         "connector_type": "file",
                 *         "connection_params": {
                 *           "path": "out/orders.parquet"
                 *         }
                 *       },
                 *       "sync_mode": "batch"
                 *     }
                 */
                "application/yaml": components["schemas"]["JobBody"];
            };
        };
        responses: {
            /** @description Created */
            201: {
                headers: {
                    ETag: components["headers"]["ETag"];
                    "Idempotent-Replayed": components["headers"]["Idempotent-Replayed"];
                    Location: components["headers"]["Location"];
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Job"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            408: components["responses"]["Problem408"];
            409: components["responses"]["Problem409"];
            413: components["responses"]["Problem413"];
            415: components["responses"]["Problem415"];
            422: components["responses"]["Problem422"];
            429: components["responses"]["Problem429"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    getJob: {
        parameters: {
            query?: never;
            header?: {
                /** @description 304 if the resource still has this ETag. */
                "If-None-Match"?: components["parameters"]["IfNoneMatch"];
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path: {
                /** @description The job. */
                job_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    ETag: components["headers"]["ETag"];
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Job"];
                };
            };
            304: components["responses"]["NotModified"];
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    updateJob: {
        parameters: {
            query?: never;
            header?: {
                /** @description Only if the resource still has this ETag (one), or `*`. */
                "If-Match"?: components["parameters"]["IfMatch"];
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path: {
                /** @description The job. */
                job_id: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "name": "orders to parquet",
                 *       "source": {
                 *         "connector_type": "file",
                 *         "connection_params": {
                 *           "path": "orders.csv"
                 *         }
                 *       },
                 *       "sink": {
                 *         "connector_type": "file",
                 *         "connection_params": {
                 *           "path": "out/orders.parquet"
                 *         }
                 *       },
                 *       "sync_mode": "batch"
                 *     }
                 */
                "application/json": components["schemas"]["JobBody"];
                /**
                 * @example {
                 *       "name": "orders to parquet",
                 *       "source": {
                 *         "connector_type": "file",
                 *         "connection_params": {
                 *           "path": "orders.csv"
                 *         }
                 *       },
                 *       "sink": {
                 *         "connector_type": "file",
                 *         "connection_params": {
                 *           "path": "out/orders.parquet"
                 *         }
                 *       },
                 *       "sync_mode": "batch"
                 *     }
                 */
                "application/yaml": components["schemas"]["JobBody"];
            };
        };
        responses: {
            /** @description OK */
            200: {
                headers: {
                    ETag: components["headers"]["ETag"];
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Job"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            408: components["responses"]["Problem408"];
            409: components["responses"]["Problem409"];
            412: components["responses"]["Problem412"];
            413: components["responses"]["Problem413"];
            415: components["responses"]["Problem415"];
            422: components["responses"]["Problem422"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    deleteJob: {
        parameters: {
            query?: never;
            header?: {
                /** @description Only if the resource still has this ETag (one), or `*`. */
                "If-Match"?: components["parameters"]["IfMatch"];
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path: {
                /** @description The job. */
                job_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description No Content */
            204: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            409: components["responses"]["Problem409"];
            412: components["responses"]["Problem412"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    listAlertRules: {
        parameters: {
            query?: never;
            header?: {
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path: {
                /** @description The job. */
                job_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["AllOfAlertRule"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    setAlertRules: {
        parameters: {
            query?: never;
            header?: {
                /** @description The same key and request give the first answer again for 24 hours. */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path: {
                /** @description The job. */
                job_id: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example [
                 *       {
                 *         "metric": "error_rate",
                 *         "threshold": 0.05,
                 *         "window": "5m",
                 *         "severity": "critical",
                 *         "action": "webhook"
                 *       }
                 *     ]
                 */
                "application/json": components["schemas"]["RulesBody"];
            };
        };
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "Idempotent-Replayed": components["headers"]["Idempotent-Replayed"];
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["AllOfAlertRule"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            408: components["responses"]["Problem408"];
            409: components["responses"]["Problem409"];
            413: components["responses"]["Problem413"];
            415: components["responses"]["Problem415"];
            422: components["responses"]["Problem422"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    previewAlertRule: {
        parameters: {
            query?: {
                /** @description How far back, hours. */
                time_range_hours?: number;
            };
            header?: {
                /** @description The same key and request give the first answer again for 24 hours. */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path: {
                /** @description The job. */
                job_id: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "metric": "error_rate",
                 *       "threshold": 0.05,
                 *       "window": "5m"
                 *     }
                 */
                "application/json": components["schemas"]["RuleBody"];
            };
        };
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "Idempotent-Replayed": components["headers"]["Idempotent-Replayed"];
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Rehearsal"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            408: components["responses"]["Problem408"];
            409: components["responses"]["Problem409"];
            413: components["responses"]["Problem413"];
            415: components["responses"]["Problem415"];
            422: components["responses"]["Problem422"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    cloneJob: {
        parameters: {
            query?: never;
            header?: {
                /** @description The same key and request give the first answer again for 24 hours. */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path: {
                /** @description The job. */
                job_id: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "name": "orders to parquet, for trying out"
                 *     }
                 */
                "application/json": components["schemas"]["CloneBody"];
            };
        };
        responses: {
            /** @description Created */
            201: {
                headers: {
                    ETag: components["headers"]["ETag"];
                    "Idempotent-Replayed": components["headers"]["Idempotent-Replayed"];
                    Location: components["headers"]["Location"];
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Job"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            408: components["responses"]["Problem408"];
            409: components["responses"]["Problem409"];
            413: components["responses"]["Problem413"];
            415: components["responses"]["Problem415"];
            422: components["responses"]["Problem422"];
            429: components["responses"]["Problem429"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    listDeadLetters: {
        parameters: {
            query?: {
                /** @description Only with this code. */
                code?: string;
                /** @description `next_cursor` of the page before. */
                cursor?: string;
                /** @description Rows at most. */
                limit?: number;
                /** @description Only those that this run has met. */
                run_id?: string;
                /** @description Not older than this. */
                since?: string;
                /** @description Only those that this sink lacks; `-`: those that none has. */
                sink?: string;
                /** @description Only in this state. */
                state?: "waiting" | "replayed" | "discarded";
                /** @description Only of this stream. */
                stream?: string;
                /** @description Older than this. */
                until?: string;
            };
            header?: {
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path: {
                /** @description The job. */
                job_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["DeadLetters"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            409: components["responses"]["Problem409"];
            422: components["responses"]["Problem422"];
            429: components["responses"]["Problem429"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    getDeadLetter: {
        parameters: {
            query?: never;
            header?: {
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path: {
                /** @description The job. */
                job_id: string;
                /** @description The letter's number. */
                letter: number;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["DeadLetter"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            409: components["responses"]["Problem409"];
            422: components["responses"]["Problem422"];
            429: components["responses"]["Problem429"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    correctDeadLetter: {
        parameters: {
            query?: never;
            header?: {
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path: {
                /** @description The job. */
                job_id: string;
                /** @description The letter's number. */
                letter: number;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "record": "{\"id\": 7, \"amount\": 12.50}"
                 *     }
                 */
                "application/json": components["schemas"]["DeadLetterCorrection"];
            };
        };
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["DeadLetter"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            408: components["responses"]["Problem408"];
            413: components["responses"]["Problem413"];
            415: components["responses"]["Problem415"];
            422: components["responses"]["Problem422"];
            429: components["responses"]["Problem429"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    discardDeadLetters: {
        parameters: {
            query?: never;
            header?: {
                /** @description The same key and request give the first answer again for 24 hours. */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path: {
                /** @description The job. */
                job_id: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "reason": "test data",
                 *       "letters": {
                 *         "stream": "orders",
                 *         "up_to": 99
                 *       }
                 *     }
                 */
                "application/json": components["schemas"]["DeadLetterDiscard"];
            };
        };
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "Idempotent-Replayed": components["headers"]["Idempotent-Replayed"];
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["DiscardedLetters"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            408: components["responses"]["Problem408"];
            409: components["responses"]["Problem409"];
            413: components["responses"]["Problem413"];
            415: components["responses"]["Problem415"];
            422: components["responses"]["Problem422"];
            429: components["responses"]["Problem429"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    replayDeadLetters: {
        parameters: {
            query?: never;
            header?: {
                /** @description The same key and request give the first answer again for 24 hours. */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path: {
                /** @description The job. */
                job_id: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "ids": [
                 *         7,
                 *         8
                 *       ]
                 *     }
                 */
                "application/json": components["schemas"]["DeadLetterChoice"];
            };
        };
        responses: {
            /** @description Accepted */
            202: {
                headers: {
                    "Idempotent-Replayed": components["headers"]["Idempotent-Replayed"];
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Run"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            408: components["responses"]["Problem408"];
            409: components["responses"]["Problem409"];
            413: components["responses"]["Problem413"];
            415: components["responses"]["Problem415"];
            422: components["responses"]["Problem422"];
            429: components["responses"]["Problem429"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    getJobGraph: {
        parameters: {
            query?: never;
            header?: {
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path: {
                /** @description The job. */
                job_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Graph"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    getJobJournal: {
        parameters: {
            query?: never;
            header?: {
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path: {
                /** @description The job. */
                job_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["JobJournal"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            409: components["responses"]["Problem409"];
            422: components["responses"]["Problem422"];
            429: components["responses"]["Problem429"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    approveStream: {
        parameters: {
            query?: never;
            header?: {
                /** @description The same key and request give the first answer again for 24 hours. */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path: {
                /** @description The job. */
                job_id: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "stream": "public.orders"
                 *     }
                 */
                "application/json": components["schemas"]["ApproveBody"];
            };
        };
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "Idempotent-Replayed": components["headers"]["Idempotent-Replayed"];
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Approved"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            408: components["responses"]["Problem408"];
            409: components["responses"]["Problem409"];
            413: components["responses"]["Problem413"];
            415: components["responses"]["Problem415"];
            422: components["responses"]["Problem422"];
            429: components["responses"]["Problem429"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    getJobMetrics: {
        parameters: {
            query?: {
                /** @description How far back, hours. */
                time_range_hours?: number;
            };
            header?: {
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path: {
                /** @description The job. */
                job_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["JobMetrics"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    pauseJob: {
        parameters: {
            query?: never;
            header?: {
                /** @description The same key and request give the first answer again for 24 hours. */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path: {
                /** @description The job. */
                job_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    ETag: components["headers"]["ETag"];
                    "Idempotent-Replayed": components["headers"]["Idempotent-Replayed"];
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Job"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            408: components["responses"]["Problem408"];
            409: components["responses"]["Problem409"];
            413: components["responses"]["Problem413"];
            422: components["responses"]["Problem422"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    getJobPositions: {
        parameters: {
            query?: never;
            header?: {
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path: {
                /** @description The job. */
                job_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["JobPositions"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            409: components["responses"]["Problem409"];
            422: components["responses"]["Problem422"];
            429: components["responses"]["Problem429"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    resumeJob: {
        parameters: {
            query?: never;
            header?: {
                /** @description The same key and request give the first answer again for 24 hours. */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path: {
                /** @description The job. */
                job_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    ETag: components["headers"]["ETag"];
                    "Idempotent-Replayed": components["headers"]["Idempotent-Replayed"];
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Job"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            408: components["responses"]["Problem408"];
            409: components["responses"]["Problem409"];
            413: components["responses"]["Problem413"];
            422: components["responses"]["Problem422"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    rollbackJob: {
        parameters: {
            query?: never;
            header?: {
                /** @description The same key and request give the first answer again for 24 hours. */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
                /** @description Only if the resource still has this ETag (one), or `*`. */
                "If-Match"?: components["parameters"]["IfMatch"];
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path: {
                /** @description The job. */
                job_id: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "version": 1
                 *     }
                 */
                "application/json": components["schemas"]["Rollback"];
            };
        };
        responses: {
            /** @description OK */
            200: {
                headers: {
                    ETag: components["headers"]["ETag"];
                    "Idempotent-Replayed": components["headers"]["Idempotent-Replayed"];
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Job"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            408: components["responses"]["Problem408"];
            409: components["responses"]["Problem409"];
            412: components["responses"]["Problem412"];
            413: components["responses"]["Problem413"];
            415: components["responses"]["Problem415"];
            422: components["responses"]["Problem422"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    runJob: {
        parameters: {
            query?: never;
            header?: {
                /** @description The same key and request give the first answer again for 24 hours. */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path: {
                /** @description The job. */
                job_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Accepted */
            202: {
                headers: {
                    "Idempotent-Replayed": components["headers"]["Idempotent-Replayed"];
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Run"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            408: components["responses"]["Problem408"];
            409: components["responses"]["Problem409"];
            413: components["responses"]["Problem413"];
            422: components["responses"]["Problem422"];
            429: components["responses"]["Problem429"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    listRunsOfJob: {
        parameters: {
            query?: {
                /** @description `next_cursor` of the page before. */
                cursor?: string;
                /** @description Rows at most. */
                limit?: number;
                /** @description Not older than this. */
                since?: string;
                /** @description By what; `-`: the largest first. `-queued_at` if absent. Runs that have not begun, or for `duration` not ended, are the smallest. */
                sort?: "-queued_at" | "queued_at" | "started_at" | "-started_at" | "duration" | "-duration" | "rows_written" | "-rows_written" | "status" | "-status" | "job_name" | "-job_name";
                /** @description Only in this state. */
                status?: "queued" | "running" | "succeeded" | "failed" | "cancelled" | "skipped";
            };
            header?: {
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path: {
                /** @description The job. */
                job_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["PageOfRun"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            422: components["responses"]["Problem422"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    snapshotStream: {
        parameters: {
            query?: never;
            header?: {
                /** @description The same key and request give the first answer again for 24 hours. */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path: {
                /** @description The job. */
                job_id: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "stream": "public.orders",
                 *       "where": "id > 1000"
                 *     }
                 */
                "application/json": components["schemas"]["SnapshotBody"];
            };
        };
        responses: {
            /** @description Accepted */
            202: {
                headers: {
                    "Idempotent-Replayed": components["headers"]["Idempotent-Replayed"];
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["SnapshotAsked"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            408: components["responses"]["Problem408"];
            409: components["responses"]["Problem409"];
            413: components["responses"]["Problem413"];
            415: components["responses"]["Problem415"];
            422: components["responses"]["Problem422"];
            429: components["responses"]["Problem429"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    listJobVersions: {
        parameters: {
            query?: {
                /** @description `next_cursor` of the page before. */
                cursor?: string;
                /** @description Rows at most. */
                limit?: number;
            };
            header?: {
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path: {
                /** @description The job. */
                job_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["PageOfJobVersion"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            422: components["responses"]["Problem422"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    getJobVersion: {
        parameters: {
            query?: never;
            header?: {
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path: {
                /** @description The job. */
                job_id: string;
                /** @description The version, from 1. */
                version: number;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["JobVersion"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    getMe: {
        parameters: {
            query?: never;
            header?: {
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Me"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    getMonitoringDashboard: {
        parameters: {
            query?: never;
            header?: {
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Dashboard"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    getMonitoringHistory: {
        parameters: {
            query?: {
                /** @description How far back, hours. */
                time_range_hours?: number;
            };
            header?: {
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["History"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    exportMetrics: {
        parameters: {
            query?: never;
            header?: {
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "text/plain": string;
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    planPipeline: {
        parameters: {
            query?: never;
            header?: {
                /** @description The same key and request give the first answer again for 24 hours. */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "name": "orders to parquet",
                 *       "source": {
                 *         "connector_type": "file",
                 *         "connection_params": {
                 *           "path": "orders.csv"
                 *         }
                 *       },
                 *       "sink": {
                 *         "connector_type": "file",
                 *         "connection_params": {
                 *           "path": "out/orders.parquet"
                 *         }
                 *       },
                 *       "sync_mode": "batch"
                 *     }
                 */
                "application/json": components["schemas"]["JobBody"] | unknown;
                /**
                 * @example {
                 *       "name": "orders to parquet",
                 *       "source": {
                 *         "connector_type": "file",
                 *         "connection_params": {
                 *           "path": "orders.csv"
                 *         }
                 *       },
                 *       "sink": {
                 *         "connector_type": "file",
                 *         "connection_params": {
                 *           "path": "out/orders.parquet"
                 *         }
                 *       },
                 *       "sync_mode": "batch"
                 *     }
                 */
                "application/yaml": components["schemas"]["JobBody"] | unknown;
            };
        };
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "Idempotent-Replayed": components["headers"]["Idempotent-Replayed"];
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["PipelinePlan"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            408: components["responses"]["Problem408"];
            409: components["responses"]["Problem409"];
            413: components["responses"]["Problem413"];
            415: components["responses"]["Problem415"];
            422: components["responses"]["Problem422"];
            429: components["responses"]["Problem429"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    previewPipeline: {
        parameters: {
            query?: {
                /** @description Rows per step at most. */
                limit?: number;
            };
            header?: {
                /** @description The same key and request give the first answer again for 24 hours. */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "name": "orders to parquet",
                 *       "source": {
                 *         "connector_type": "file",
                 *         "connection_params": {
                 *           "path": "orders.csv"
                 *         }
                 *       },
                 *       "sink": {
                 *         "connector_type": "file",
                 *         "connection_params": {
                 *           "path": "out/orders.parquet"
                 *         }
                 *       },
                 *       "sync_mode": "batch"
                 *     }
                 */
                "application/json": components["schemas"]["JobBody"] | unknown;
                /**
                 * @example {
                 *       "name": "orders to parquet",
                 *       "source": {
                 *         "connector_type": "file",
                 *         "connection_params": {
                 *           "path": "orders.csv"
                 *         }
                 *       },
                 *       "sink": {
                 *         "connector_type": "file",
                 *         "connection_params": {
                 *           "path": "out/orders.parquet"
                 *         }
                 *       },
                 *       "sync_mode": "batch"
                 *     }
                 */
                "application/yaml": components["schemas"]["JobBody"] | unknown;
            };
        };
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "Idempotent-Replayed": components["headers"]["Idempotent-Replayed"];
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["PipelinePreview"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            408: components["responses"]["Problem408"];
            409: components["responses"]["Problem409"];
            413: components["responses"]["Problem413"];
            415: components["responses"]["Problem415"];
            422: components["responses"]["Problem422"];
            429: components["responses"]["Problem429"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    getPipelineSchema: {
        parameters: {
            query?: never;
            header?: {
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/schema+json": string;
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    validatePipeline: {
        parameters: {
            query?: never;
            header?: {
                /** @description The same key and request give the first answer again for 24 hours. */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "name": "orders to parquet",
                 *       "source": {
                 *         "connector_type": "file",
                 *         "connection_params": {
                 *           "path": "orders.csv"
                 *         }
                 *       },
                 *       "sink": {
                 *         "connector_type": "file",
                 *         "connection_params": {
                 *           "path": "out/orders.parquet"
                 *         }
                 *       },
                 *       "sync_mode": "batch"
                 *     }
                 */
                "application/json": components["schemas"]["JobBody"] | unknown;
                /**
                 * @example {
                 *       "name": "orders to parquet",
                 *       "source": {
                 *         "connector_type": "file",
                 *         "connection_params": {
                 *           "path": "orders.csv"
                 *         }
                 *       },
                 *       "sink": {
                 *         "connector_type": "file",
                 *         "connection_params": {
                 *           "path": "out/orders.parquet"
                 *         }
                 *       },
                 *       "sync_mode": "batch"
                 *     }
                 */
                "application/yaml": components["schemas"]["JobBody"] | unknown;
            };
        };
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "Idempotent-Replayed": components["headers"]["Idempotent-Replayed"];
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Validation"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            408: components["responses"]["Problem408"];
            409: components["responses"]["Problem409"];
            413: components["responses"]["Problem413"];
            415: components["responses"]["Problem415"];
            422: components["responses"]["Problem422"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    listPrincipals: {
        parameters: {
            query?: {
                /** @description `next_cursor` of the page before. */
                cursor?: string;
                /** @description Rows at most. */
                limit?: number;
            };
            header?: {
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["PageOfPrincipal"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            422: components["responses"]["Problem422"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    createPrincipal: {
        parameters: {
            query?: never;
            header?: {
                /** @description The same key and request give the first answer again for 24 hours. */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "kind": "service_account",
                 *       "name": "deployer",
                 *       "role": "editor"
                 *     }
                 */
                "application/json": components["schemas"]["NewPrincipal"];
            };
        };
        responses: {
            /** @description Created */
            201: {
                headers: {
                    ETag: components["headers"]["ETag"];
                    "Idempotent-Replayed": components["headers"]["Idempotent-Replayed"];
                    Location: components["headers"]["Location"];
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Principal"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            408: components["responses"]["Problem408"];
            409: components["responses"]["Problem409"];
            413: components["responses"]["Problem413"];
            415: components["responses"]["Problem415"];
            422: components["responses"]["Problem422"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    getPrincipal: {
        parameters: {
            query?: never;
            header?: {
                /** @description 304 if the resource still has this ETag. */
                "If-None-Match"?: components["parameters"]["IfNoneMatch"];
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path: {
                /** @description The principal. */
                principal_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    ETag: components["headers"]["ETag"];
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Principal"];
                };
            };
            304: components["responses"]["NotModified"];
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    updatePrincipal: {
        parameters: {
            query?: never;
            header?: {
                /** @description Only if the resource still has this ETag (one), or `*`. */
                "If-Match"?: components["parameters"]["IfMatch"];
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path: {
                /** @description The principal. */
                principal_id: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "role": "operator",
                 *       "disabled": false
                 *     }
                 */
                "application/json": components["schemas"]["PrincipalUpdate"];
            };
        };
        responses: {
            /** @description OK */
            200: {
                headers: {
                    ETag: components["headers"]["ETag"];
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Principal"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            408: components["responses"]["Problem408"];
            409: components["responses"]["Problem409"];
            412: components["responses"]["Problem412"];
            413: components["responses"]["Problem413"];
            415: components["responses"]["Problem415"];
            422: components["responses"]["Problem422"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    deletePrincipal: {
        parameters: {
            query?: never;
            header?: {
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path: {
                /** @description The principal. */
                principal_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description No Content */
            204: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            409: components["responses"]["Problem409"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    getQuotas: {
        parameters: {
            query?: never;
            header?: {
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["QuotaUse"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    listRuns: {
        parameters: {
            query?: {
                /** @description `next_cursor` of the page before. */
                cursor?: string;
                /** @description Only of this job. */
                job_id?: string;
                /** @description Rows at most. */
                limit?: number;
                /** @description Not older than this. */
                since?: string;
                /** @description By what; `-`: the largest first. `-queued_at` if absent. Runs that have not begun, or for `duration` not ended, are the smallest. */
                sort?: "-queued_at" | "queued_at" | "started_at" | "-started_at" | "duration" | "-duration" | "rows_written" | "-rows_written" | "status" | "-status" | "job_name" | "-job_name";
                /** @description Only in this state. */
                status?: "queued" | "running" | "succeeded" | "failed" | "cancelled" | "skipped";
            };
            header?: {
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["PageOfRun"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            422: components["responses"]["Problem422"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    getRun: {
        parameters: {
            query?: never;
            header?: {
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path: {
                /** @description The run. */
                run_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Run"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    cancelRun: {
        parameters: {
            query?: never;
            header?: {
                /** @description The same key and request give the first answer again for 24 hours. */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path: {
                /** @description The run. */
                run_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "Idempotent-Replayed": components["headers"]["Idempotent-Replayed"];
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Run"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            408: components["responses"]["Problem408"];
            409: components["responses"]["Problem409"];
            413: components["responses"]["Problem413"];
            422: components["responses"]["Problem422"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    getRunGraph: {
        parameters: {
            query?: never;
            header?: {
                /** @description Go on after this event; a value that is no number is not looked at. */
                "Last-Event-ID"?: components["parameters"]["LastEventId"];
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path: {
                /** @description The run. */
                run_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["RunGraph"];
                    "text/event-stream": string;
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    getRunLogs: {
        parameters: {
            query?: {
                /** @description Go on after this number. */
                after?: number;
                /** @description Rows at most. */
                limit?: number;
            };
            header?: {
                /** @description Go on after this event; a value that is no number is not looked at. */
                "Last-Event-ID"?: components["parameters"]["LastEventId"];
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path: {
                /** @description The run. */
                run_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Logs"];
                    "text/event-stream": string;
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    retryRun: {
        parameters: {
            query?: never;
            header?: {
                /** @description The same key and request give the first answer again for 24 hours. */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path: {
                /** @description The run. */
                run_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Accepted */
            202: {
                headers: {
                    "Idempotent-Replayed": components["headers"]["Idempotent-Replayed"];
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Run"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            408: components["responses"]["Problem408"];
            409: components["responses"]["Problem409"];
            413: components["responses"]["Problem413"];
            422: components["responses"]["Problem422"];
            429: components["responses"]["Problem429"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    previewSchedule: {
        parameters: {
            query: {
                /** @description After this moment; now if absent. */
                after?: string;
                /** @description How many fires. */
                count?: number;
                /**
                 * @description Five cron fields.
                 * @example 0 6 * * 1-5
                 */
                cron: string;
                /**
                 * @description IANA zone; UTC if absent.
                 * @example Europe/Berlin
                 */
                timezone?: string;
            };
            header?: {
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["SchedulePreview"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            422: components["responses"]["Problem422"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    listSecrets: {
        parameters: {
            query?: never;
            header?: {
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["AllOfSecretName"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    putSecret: {
        parameters: {
            query?: never;
            header?: {
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path: {
                /** @description The secret's name. */
                name: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "value": "correct horse battery staple"
                 *     }
                 */
                "application/json": components["schemas"]["SecretValue"];
            };
        };
        responses: {
            /** @description No Content */
            204: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            408: components["responses"]["Problem408"];
            413: components["responses"]["Problem413"];
            415: components["responses"]["Problem415"];
            422: components["responses"]["Problem422"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    deleteSecret: {
        parameters: {
            query?: never;
            header?: {
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path: {
                /** @description The secret's name. */
                name: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description No Content */
            204: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            422: components["responses"]["Problem422"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    listSilences: {
        parameters: {
            query?: never;
            header?: {
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["AllOfSilenceHeld"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    createSilence: {
        parameters: {
            query?: never;
            header?: {
                /** @description The same key and request give the first answer again for 24 hours. */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "until": "2099-01-01T06:00:00Z",
                 *       "reason": "maintenance of the warehouse"
                 *     }
                 */
                "application/json": components["schemas"]["Silence"];
            };
        };
        responses: {
            /** @description Accepted */
            202: {
                headers: {
                    "Idempotent-Replayed": components["headers"]["Idempotent-Replayed"];
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["SilenceHeld"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            408: components["responses"]["Problem408"];
            409: components["responses"]["Problem409"];
            413: components["responses"]["Problem413"];
            415: components["responses"]["Problem415"];
            422: components["responses"]["Problem422"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    endSilence: {
        parameters: {
            query?: never;
            header?: {
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path: {
                /** @description The silence. */
                silence_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description No Content */
            204: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    listSubscriptions: {
        parameters: {
            query?: never;
            header?: {
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["AllOfSubscription"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    createSubscription: {
        parameters: {
            query?: never;
            header?: {
                /** @description The same key and request give the first answer again for 24 hours. */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "url": "https://hooks.example.com/weir",
                 *       "kinds": [
                 *         "run.finished"
                 *       ]
                 *     }
                 */
                "application/json": components["schemas"]["NewSubscriptionBody"];
            };
        };
        responses: {
            /** @description Created */
            201: {
                headers: {
                    "Idempotent-Replayed": components["headers"]["Idempotent-Replayed"];
                    Location: components["headers"]["Location"];
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["CreatedSubscription"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            408: components["responses"]["Problem408"];
            409: components["responses"]["Problem409"];
            413: components["responses"]["Problem413"];
            415: components["responses"]["Problem415"];
            422: components["responses"]["Problem422"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    getSubscription: {
        parameters: {
            query?: never;
            header?: {
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path: {
                /** @description The subscription. */
                subscription_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Subscription"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    deleteSubscription: {
        parameters: {
            query?: never;
            header?: {
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path: {
                /** @description The subscription. */
                subscription_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description No Content */
            204: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    listTemplates: {
        parameters: {
            query?: never;
            header?: {
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["AllOfTemplate"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    getTemplate: {
        parameters: {
            query?: never;
            header?: {
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path: {
                /** @description The template. */
                template_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["TemplateDetail"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    instantiateTemplate: {
        parameters: {
            query?: never;
            header?: {
                /** @description The same key and request give the first answer again for 24 hours. */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path: {
                /** @description The template. */
                template_id: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "parameters": {
                 *         "name": "orders"
                 *       },
                 *       "create_job": false
                 *     }
                 */
                "application/json": components["schemas"]["InstantiateBody"];
            };
        };
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "Idempotent-Replayed": components["headers"]["Idempotent-Replayed"];
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Instantiated"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            408: components["responses"]["Problem408"];
            409: components["responses"]["Problem409"];
            413: components["responses"]["Problem413"];
            415: components["responses"]["Problem415"];
            422: components["responses"]["Problem422"];
            429: components["responses"]["Problem429"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    listTenants: {
        parameters: {
            query?: {
                /** @description `next_cursor` of the page before. */
                cursor?: string;
                /** @description Rows at most. */
                limit?: number;
            };
            header?: {
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["PageOfTenant"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            422: components["responses"]["Problem422"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    createTenant: {
        parameters: {
            query?: never;
            header?: {
                /** @description The same key and request give the first answer again for 24 hours. */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "id": "team-a",
                 *       "name": "Team A",
                 *       "quotas": {
                 *         "max_pipelines": 100
                 *       }
                 *     }
                 */
                "application/json": components["schemas"]["NewTenant"];
            };
        };
        responses: {
            /** @description Created */
            201: {
                headers: {
                    ETag: components["headers"]["ETag"];
                    "Idempotent-Replayed": components["headers"]["Idempotent-Replayed"];
                    Location: components["headers"]["Location"];
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Tenant"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            408: components["responses"]["Problem408"];
            409: components["responses"]["Problem409"];
            413: components["responses"]["Problem413"];
            415: components["responses"]["Problem415"];
            422: components["responses"]["Problem422"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    getTenant: {
        parameters: {
            query?: never;
            header?: {
                /** @description 304 if the resource still has this ETag. */
                "If-None-Match"?: components["parameters"]["IfNoneMatch"];
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path: {
                /** @description The tenant. */
                tenant_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    ETag: components["headers"]["ETag"];
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Tenant"];
                };
            };
            304: components["responses"]["NotModified"];
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    updateTenant: {
        parameters: {
            query?: never;
            header?: {
                /** @description Only if the resource still has this ETag (one), or `*`. */
                "If-Match"?: components["parameters"]["IfMatch"];
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path: {
                /** @description The tenant. */
                tenant_id: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "name": "Team A",
                 *       "status": "active",
                 *       "quotas": {
                 *         "max_pipelines": 200
                 *       }
                 *     }
                 */
                "application/json": components["schemas"]["TenantUpdate"];
            };
        };
        responses: {
            /** @description OK */
            200: {
                headers: {
                    ETag: components["headers"]["ETag"];
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Tenant"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            408: components["responses"]["Problem408"];
            409: components["responses"]["Problem409"];
            412: components["responses"]["Problem412"];
            413: components["responses"]["Problem413"];
            415: components["responses"]["Problem415"];
            422: components["responses"]["Problem422"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    removeTenant: {
        parameters: {
            query?: never;
            header?: {
                /** @description Only if the resource still has this ETag (one), or `*`. */
                "If-Match"?: components["parameters"]["IfMatch"];
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path: {
                /** @description The tenant. */
                tenant_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description No Content */
            204: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            409: components["responses"]["Problem409"];
            412: components["responses"]["Problem412"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    listTokens: {
        parameters: {
            query?: {
                /** @description `next_cursor` of the page before. */
                cursor?: string;
                /** @description Rows at most. */
                limit?: number;
                /** @description Only of this principal. */
                principal_id?: string;
            };
            header?: {
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["PageOfToken"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            422: components["responses"]["Problem422"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    createToken: {
        parameters: {
            query?: never;
            header?: {
                /** @description The same key and request give the first answer again for 24 hours. */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["NewTokenBody"];
            };
        };
        responses: {
            /** @description Created */
            201: {
                headers: {
                    "Idempotent-Replayed": components["headers"]["Idempotent-Replayed"];
                    Location: components["headers"]["Location"];
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["CreatedToken"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            408: components["responses"]["Problem408"];
            409: components["responses"]["Problem409"];
            413: components["responses"]["Problem413"];
            415: components["responses"]["Problem415"];
            422: components["responses"]["Problem422"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    revokeToken: {
        parameters: {
            query?: never;
            header?: {
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path: {
                /** @description The token. */
                token_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description No Content */
            204: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    getDocs: {
        parameters: {
            query?: never;
            header?: {
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "text/html": string;
                };
            };
            400: components["responses"]["Problem400"];
            default: components["responses"]["Problem"];
        };
    };
    getDocsStyle: {
        parameters: {
            query?: never;
            header?: {
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "text/css": string;
                };
            };
            400: components["responses"]["Problem400"];
            default: components["responses"]["Problem"];
        };
    };
    getDocsScript: {
        parameters: {
            query?: never;
            header?: {
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "text/javascript": string;
                };
            };
            400: components["responses"]["Problem400"];
            default: components["responses"]["Problem"];
        };
    };
    getHealth: {
        parameters: {
            query?: never;
            header?: {
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Health"];
                };
            };
            400: components["responses"]["Problem400"];
            /** @description Service Unavailable */
            503: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Health"];
                };
            };
            default: components["responses"]["Problem"];
        };
    };
    cancelJob: {
        parameters: {
            query?: never;
            header?: {
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path: {
                /** @description The run. */
                job_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["CancelledJob"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            409: components["responses"]["Problem409"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    listActiveJobs: {
        parameters: {
            query?: never;
            header?: {
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ActiveJobs"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    executeSpec: {
        parameters: {
            query: {
                /** @description The file, relative to the folder or absolute. */
                spec_path: string;
            };
            header?: {
                /** @description The same key and request give the first answer again for 24 hours. */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "Idempotent-Replayed": components["headers"]["Idempotent-Replayed"];
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Executed"];
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            408: components["responses"]["Problem408"];
            409: components["responses"]["Problem409"];
            413: components["responses"]["Problem413"];
            422: components["responses"]["Problem422"];
            429: components["responses"]["Problem429"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    getLive: {
        parameters: {
            query?: never;
            header?: {
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Probe"];
                };
            };
            400: components["responses"]["Problem400"];
            default: components["responses"]["Problem"];
        };
    };
    getMetrics: {
        parameters: {
            query?: never;
            header?: {
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
                /** @description Act for another tenant; for platform-admins only. */
                "X-Tenant-Id"?: components["parameters"]["Tenant"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "text/plain": string;
                };
            };
            400: components["responses"]["Problem400"];
            401: components["responses"]["Problem401"];
            403: components["responses"]["Problem403"];
            404: components["responses"]["Problem404"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
    getOpenApi: {
        parameters: {
            query?: never;
            header?: {
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": string;
                };
            };
            400: components["responses"]["Problem400"];
            default: components["responses"]["Problem"];
        };
    };
    getReady: {
        parameters: {
            query?: never;
            header?: {
                /** @description The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced. */
                "X-Request-Id"?: components["parameters"]["RequestId"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Probe"];
                };
            };
            400: components["responses"]["Problem400"];
            503: components["responses"]["Problem503"];
            default: components["responses"]["Problem"];
        };
    };
}
