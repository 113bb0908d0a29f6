//! A secret planted anywhere is in no log, trace, metric, API answer, error text or file.
//!
//! The real program, with secrets wherever one can enter, each another random text. What is said and written is searched for all of them in
//! all forms. That the search would find one is shown by a marker that is no secret and stands beside them: it is in all of these places.

mod plants;
mod program;
mod search;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use weir_testkit::{HttpFixture, OtelCollector, PostgresServer, Recorded, Reply, VaultServer};

use plants::Planted;
use program::{PATIENCE, Program, children};
use search::Canaries;

/// Where people put a secret themselves, or where it goes: its own place is no leak.
const OWN_FILES: [&str; 2] = ["own-secret.txt", "own-spec.yaml"];

/// The other side of the pipelines: it says again what it was told, as servers do in their errors.
pub struct Outside {
    pub server: HttpFixture,
    /// Arguments and environment of the program's children, seen while they waited for an answer.
    seen: Arc<Mutex<Vec<u8>>>,
    /// Whose children.
    parent: Arc<Mutex<u32>>,
}

impl Outside {
    fn start(marker: &str, learned: &str) -> Self {
        let server = HttpFixture::start().unwrap();
        let (seen, parent) = (Arc::<Mutex<Vec<u8>>>::default(), Arc::<Mutex<u32>>::default());
        let (marker, learned, look, of) = (marker.to_owned(), learned.to_owned(), seen.clone(), parent.clone());
        server.handle("*", move |request| {
            look.lock().unwrap().extend(children(*of.lock().unwrap()));
            answer(request, &marker, &learned)
        });
        Self { server, seen, parent }
    }
}

fn answer(request: &Recorded, marker: &str, learned: &str) -> Reply {
    let keys = ["authorization", "x-api-key", "cookie"].map(|name| request.header(name).unwrap_or_default());
    let echo = format!("{marker} {} {} {}", keys.join(" "), request.query, request.text());
    match request.path.split('/').nth(1).unwrap_or_default() {
        "ok" => Reply::json(json!({"data": [{"id": 1, "name": marker}, {"id": 2, "name": "b"}]})),
        "token" => Reply::json(json!({"access_token": learned, "expires_in": 3600})),
        "hook" => Reply::status(204),
        // The next address has the query of this one, as some APIs write it.
        "paged" if request.param("page").is_none() => {
            let next = format!("/paged/x?{}&page=2", request.query);
            Reply::json(json!({"data": [{"id": 1, "name": "a"}], "next": next}))
        }
        "failing" => Reply::json(json!({"said": echo})).with_status(500),
        "paged" => Reply::json(json!({"said": echo})).with_status(422),
        // Where an error text is cut, half a secret would be left.
        "long" => {
            let key = keys[0].trim_start_matches("Bearer ");
            Reply::text(format!("{marker} {} {key}", "x".repeat(200 - marker.len() - 22))).with_status(403)
        }
        "redirect" => Reply::status(302).header("location", format!("/refused/{marker}?{}", request.query)),
        _ => Reply::text(echo).with_status(401),
    }
}

#[test]
fn canary_a_secret_planted_anywhere_is_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let marker = format!("mk{:012x}", rand::random::<u64>() >> 16);
    let mut canaries = Canaries::default();
    let learned = canaries.plant("token that an OAuth server gave");
    let outside = Outside::start(&marker, &learned);
    let hooks = HttpFixture::start().unwrap();
    hooks.on("*", Reply::status(204));
    let collector = OtelCollector::start().unwrap();
    let (vault, postgres) = (VaultServer::shared().unwrap(), PostgresServer::shared().unwrap());

    let environment = plants::environment(&mut canaries, &marker, &vault, &collector, &hooks);
    let program = Program::start(folder.path(), &environment);
    *outside.parent.lock().unwrap() = program.pid();
    let mut planted = Planted::new(&program, &mut canaries, &marker);
    planted.files();
    planted.stored(&outside, &vault, &postgres);
    planted.subscriptions(&hooks);
    planted.jobs(&outside, &postgres);
    planted.templates();
    planted.broken_bodies();
    planted.requests();
    let jobs = planted.jobs;
    let echoed = run_all(&program, &jobs, &marker);

    // The alert, its event and the ends of the runs are told by and by.
    wait("the alert is told", || hooks.requests().iter().any(|request| request.path == "/alert"));
    wait("the ends of the runs are told", || {
        let told = hooks.requests().into_iter().filter(|request| request.path == "/subscribed");
        told.filter(|request| request.text().contains("run.finished")).count() >= jobs.len()
    });
    let asked = ask_everything(&program);
    let (backup, dump) = (format!("backup-{marker}.db"), format!("dump-{marker}.jsonl"));
    for arguments in [
        &["config", "show"][..],
        &["config", "show", "--json"],
        &["doctor"],
        &["doctor", "--json"],
        &["audit", "verify", "--json"],
        &["backup", &backup],
        &["backup", "--portable", &dump],
    ] {
        program.weir(arguments);
    }
    let spans = collector.wait_for(jobs.len() * 3, PATIENCE).unwrap();
    // Twice: the log of the database (WAL) is gone after the end.
    let mut places = on_disk(folder.path(), "while it ran");
    let (pid, said) = (program.pid(), program.stop());
    assert!(children(pid).is_empty(), "no child outlives the server");
    places.extend(on_disk(folder.path(), "at the end"));
    places.extend(said);
    places.push(("the children's arguments and environment".into(), outside.seen.lock().unwrap().clone()));
    places
        .push(("spans".into(), spans.iter().chain(&collector.spans().unwrap()).map(Value::to_string).collect::<String>().into()));
    let on_the_way = |request: &Recorded| format!("{:?}\n{}\n", request.headers, request.text()).into_bytes();
    places.extend(hooks.requests().iter().map(|request| ("what webhooks were told".to_string(), on_the_way(request))));

    let bytes: usize = places.iter().map(|(_, bytes)| bytes.len()).sum();
    println!("{} secrets planted; {} texts and files searched, {bytes} bytes", canaries.len(), places.len());
    println!("{} routes of the API asked; {} of {} runs show an error that names the marker", asked, echoed, jobs.len());
    let hunter = canaries.hunter();
    // Who was to get a secret has got it: it was really used.
    let sent: BTreeSet<_> =
        outside.server.requests().iter().flat_map(|r| hunter.find(format!("{r:?}{}", r.text()).as_bytes())).collect();
    let missing: Vec<_> = plants::ARRIVE.iter().filter(|place| !sent.contains(*place)).collect();
    assert!(missing.is_empty(), "these never reached the other side: {missing:?}");
    let resumed = |r: &Recorded| r.param("page").is_some() && hunter.find(r.query.as_bytes()).contains("api_key in a URL");
    assert!(outside.server.requests().iter().any(resumed), "a next address has its key again");
    let signed = |request: &Recorded| request.header("x-weir-signature").is_some();
    assert!(hooks.requests().iter().all(signed), "webhooks are signed with the keys");
    assert!(
        hooks.requests().iter().any(|r| !hunter.find(r.query.as_bytes()).is_empty()),
        "the alerts' own address has its token"
    );
    println!("{} of them were seen by the server that they were for", sent.len());

    let mut leaks: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (place, bytes) in &places {
        for canary in hunter.find(bytes) {
            leaks.entry(canary).or_default().insert(place);
        }
    }
    assert_controls(&places, &marker);
    assert!(leaks.is_empty(), "secrets and where they turned up: {leaks:#?}");
}

fn wait(what: &str, is_so: impl FnMut() -> bool) {
    weir_testkit::wait_until(what, PATIENCE, is_so).unwrap();
}

/// Runs every job; how many errors name the marker, which the other side says beside the secret.
fn run_all(program: &Program, jobs: &[(String, &'static str)], marker: &str) -> usize {
    let mut echoed = 0;
    for (job, expected) in jobs {
        let run = program.run(job);
        assert_eq!(run["status"], *expected, "{run:#}");
        echoed += usize::from(run["error"]["cause"].as_str().is_some_and(|cause| cause.contains(marker)));
    }
    assert!(echoed >= 10, "the other side's words are in errors: {echoed}");
    echoed
}

/// Every GET of the API for everything that there is; how many routes.
fn ask_everything(program: &Program) -> usize {
    let list = |path: &str| program.get(path)["items"].as_array().cloned().unwrap_or_default();
    let ids =
        |path: &str, key: &str| -> Vec<String> { list(path).iter().map(|one| one[key].as_str().unwrap().to_owned()).collect() };
    let known = BTreeMap::from([
        ("{job_id}", ids("/api/v1/jobs?limit=500", "id")),
        ("{run_id}", ids("/api/v1/runs?limit=500", "id")),
        ("{subscription_id}", ids("/api/v1/subscriptions", "id")),
        ("{template_id}", ids("/api/v1/templates", "id")),
        ("{connection_id}", ids("/api/v1/connections", "id")),
        ("{tenant_id}", ids("/api/v1/tenants", "id")),
        ("{principal_id}", ids("/api/v1/principals", "id")),
    ]);
    let document = program.get("/openapi.json");
    let routes: Vec<&String> =
        document["paths"].as_object().unwrap().iter().filter(|(_, of)| of["get"].is_object()).map(|(p, _)| p).collect();
    for route in &routes {
        let mut paths = vec![(*route).clone()];
        for (name, values) in known.iter().filter(|(name, _)| route.contains(**name)) {
            assert!(!values.is_empty(), "there is no {name} to ask for");
            paths = paths.iter().flat_map(|path| values.iter().map(move |value| path.replace(name, value))).collect();
        }
        if route.ends_with("/{letter}") {
            // Each letter of each job; they are numbered.
            let numbers = |of: &str| list(of).iter().map(|letter| letter["id"].to_string()).collect::<Vec<_>>();
            let lists = paths.iter().map(|path| path.replace("/{letter}", ""));
            paths = lists.flat_map(|of| numbers(&of).into_iter().map(move |number| format!("{of}/{number}"))).collect();
        }
        for path in paths {
            let path = path.replace("{version}", "1");
            let query = if route.ends_with("preview") { "?cron=0%200%20*%20*%20*" } else { "" };
            assert_eq!(program.ask("GET", &format!("{path}{query}"), &Value::Null).status, 200, "{path}");
            if route.ends_with("/logs") {
                program.listen(&path, "event: end");
            }
        }
    }
    program.get("/api/v1/audit?limit=500");
    let events = program.get("/api/v1/events?limit=500");
    let last = events["items"].as_array().and_then(|all| all.last()).unwrap()["id"].as_str().unwrap().to_owned();
    program.listen("/api/v1/events?after=0", &last);
    program.heard("metrics of the second listener", plants::plain_get(&program.metrics, "/metrics"));
    routes.len()
}

fn on_disk(folder: &std::path::Path, when: &str) -> Vec<(String, Vec<u8>)> {
    let shown = |path: std::path::PathBuf| format!("{} ({when})", path.strip_prefix(folder).unwrap().display());
    let all = search::files(folder).into_iter().map(|(path, bytes)| (shown(path), bytes));
    all.filter(|(name, _)| !OWN_FILES.iter().any(|own| name.contains(own))).collect()
}

/// The marker is wherever a secret could be: a search of nothing would find nothing.
fn assert_controls(places: &[(String, Vec<u8>)], marker: &str) {
    let holds = |bytes: &[u8]| bytes.windows(marker.len()).any(|window| window == marker.as_bytes());
    let found: BTreeSet<&str> = places.iter().filter(|(_, bytes)| holds(bytes)).map(|(place, _)| place.as_str()).collect();
    let wanted = [
        "stderr.txt (while it ran)",
        "/weir.db",
        "/weir.db-wal (while it ran)",
        "backup-",
        "dump-",
        "/state/",
        "answer to GET /api/v1/runs/",
        "answer to GET /api/v1/jobs/",
        "answer to GET /api/v1/connections/",
        "answer to GET /api/v1/audit",
        "answer to GET /api/v1/events",
        "answer to GET /api/v1/monitoring/dashboard",
        "answer to POST /api/v1/pipelines/validate",
        "answer to POST /api/v1/connections/",
        "stream of /api/v1/runs/",
        "stream of /api/v1/events",
        "weir config show",
        "weir doctor",
        "weir backup",
        "spans",
        "what webhooks were told",
        "the children's arguments and environment",
    ];
    // Labels of metrics are of the program's own words; there it is the failed runs that must be counted.
    for metrics in ["answer to GET /metrics", "metrics of the second listener"] {
        let text = places.iter().find(|(place, _)| place == metrics).map(|(_, bytes)| String::from_utf8_lossy(bytes)).unwrap();
        assert!(text.contains("status=\"failed\"") && text.contains("weir_http_requests_total"), "{metrics}: {text}");
    }
    let missing: Vec<_> = wanted.iter().filter(|wanted| !found.iter().any(|place| place.contains(**wanted))).collect();
    assert!(missing.is_empty(), "the marker is not in {missing:?}, only in {found:#?}");
    println!("the marker was found in {} of them, in each of the {} kinds", found.len(), wanted.len());
}
