//! What a run may see and reach: its own secrets and nobody else's.

use serde_json::{Value, json};
use weir_control::seal::Place;
use weir_store::model::{NewConnection, NewRun, Quotas, RunStatus, Trigger};
use weir_store::{Actor, TenantScope};

use crate::scene::{Pages, Scene};
use crate::stage::{Stage, copy, csv};

const PASSWORD: &str = "hunter2-password";
const TOKEN: &str = "hunter2-token";

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_in_one_secret_while_the_run_goes_on_and_nowhere_else() {
    let scene = Scene::new().await;
    let stage = &scene.stage;
    let pages = Pages::serve();
    let place = |table, row| Place { tenant: stage.scope.tenant(), table, row };
    let secrets = json!({"auth": {"basic": {"user": "u", "password": PASSWORD}}});
    let sealed = stage.platform.keys.seal(&place("connection", "shop"), secrets.to_string().as_bytes()).unwrap();
    let connection = NewConnection {
        name: "shop".into(),
        kind: "http".into(),
        options: json!({"base_url": pages.server.url(), "headers": {"X-Key": "{{shop_token}}"}}),
        sealed: Some(sealed),
        secret_names: vec!["auth".into()],
    };
    stage.store().put_connection(connection, None).await.unwrap();
    let sealed = stage.platform.keys.seal(&place("secret", "shop_token"), TOKEN.as_bytes()).unwrap();
    stage.store().set_secret("shop_token", sealed).await.unwrap();
    let spec = "pipeline: p\nsource:\n  http: {connection: shop, path: /items, records: data, pagination: {page: {}}}\n\
                sink:\n  file: {path: out, format: ndjson, write_mode: append}\n";
    let mut job = Stage::new_job("shop", spec);
    job.connections = vec!["shop".into()];
    let run = stage.run(job).await;
    let _worker = scene.worker();
    pages.held(1).await;

    let pod = scene.running();
    let all = ["pods", "configmaps", "events", "serviceaccounts"].map(|plural| scene.list(&scene.namespace, "api/v1", plural));
    let seen = format!("{all:?} {:?}", scene.jobs());
    assert!(!seen.contains("hunter2") && !seen.contains("aHVudGVyMi"), "a secret is in an object: {seen}");
    let held = scene.list(&scene.namespace, "api/v1", "secrets");
    let [secret] = held.as_slice() else { panic!("{held:#?}") };
    let job = &scene.jobs()[0];
    assert_eq!(secret["metadata"]["ownerReferences"][0]["uid"], job["metadata"]["uid"], "it goes with its Job");
    assert!(secret["data"]["order"].as_str().unwrap().len() > 100);
    let log = format!("/api/v1/namespaces/{}/pods/{pod}/log", scene.namespace);
    let (status, _) = scene.cluster.call("GET", &log, Value::Null).unwrap();
    assert_eq!(status, 200);

    pages.release();
    let run = stage.ended(&run.id).await;
    assert_eq!(run.status, RunStatus::Succeeded, "{run:#?}");
    let asked = pages.server.requests();
    assert!(asked.iter().all(|request| request.header("x-key") == Some(TOKEN)), "the run had its secrets");
    assert!(scene.list(&scene.namespace, "api/v1", "secrets").is_empty());
    let told = format!("{run:?} {:?}", stage.log(&run.id).await);
    assert!(!told.contains("hunter2"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_have_namespaces_of_their_own_that_nothing_in_them_can_leave() {
    let scene = Scene::new().await;
    let stage = &scene.stage;
    let system = stage.platform.store.system();
    let quotas = Quotas { max_concurrent_runs: Some(3), ..Quotas::default() };
    system.create_tenant(&Actor::system("test"), &"acme".into(), "acme", quotas).await.unwrap();
    let acme = stage.platform.store.tenant(&TenantScope::granted("acme".into(), Actor::system("test")));
    let files = stage.folder.path().join("tenants/acme/files");
    std::fs::create_dir_all(&files).unwrap();
    std::fs::write(files.join("in.csv"), csv(0..50)).unwrap();
    stage.write("in.csv", csv(0..20));
    let theirs = acme.create_job(Stage::new_job("copy", &copy("in.csv", "out", "append")), Vec::new()).await.unwrap();
    let run = NewRun { job_id: theirs.id.clone(), trigger: Trigger::Manual, not_before: chrono::Utc::now() };
    let their_run = acme.create_run(run).await.unwrap();
    let our_run = stage.run(Stage::new_job("copy", &copy("in.csv", "out", "append"))).await;
    let _worker = scene.worker();
    assert_eq!(stage.ended(&our_run.id).await.status, RunStatus::Succeeded);
    let begin = std::time::Instant::now();
    let their_run = loop {
        let run = acme.run(&their_run.id).await.unwrap();
        if run.status.is_final() {
            break run;
        }
        assert!(begin.elapsed().as_secs() < 60, "{run:#?}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert_eq!(their_run.status, RunStatus::Succeeded, "{their_run:#?}");
    assert_eq!(crate::stage::ids(&files.join("out")).len(), 50);

    let (ours, theirs) = (scene.namespace.clone(), format!("{}-acme", scene.namespace));
    assert_eq!((scene.jobs().len(), scene.list(&theirs, "apis/batch/v1", "jobs").len()), (1, 1));
    let mount = &scene.list(&theirs, "api/v1", "pods")[0]["spec"]["containers"][0]["volumeMounts"];
    let data = mount.as_array().unwrap().iter().find(|mount| mount["name"] == "data").unwrap();
    assert_eq!(data["subPath"], "tenants/acme", "only the tenant's own folder is mounted: {mount}");
    for namespace in [&ours, &theirs] {
        let policies = scene.list(namespace, "apis/networking.k8s.io/v1", "networkpolicies");
        let [policy] = policies.as_slice() else { panic!("{policies:#?}") };
        assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
        assert!(policy["spec"]["ingress"].as_array().is_none_or(Vec::is_empty), "nobody reaches a run: {policy:#?}");
        let egress = policy["spec"]["egress"].to_string();
        assert!(egress.contains("169.254.0.0/16") && egress.contains("127.0.0.1/32"), "{egress}");
        let wanted = &policy["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/managed-by"];
        let pods = scene.list(namespace, "api/v1", "pods");
        assert!(pods.iter().all(|pod| &pod["metadata"]["labels"]["app.kubernetes.io/managed-by"] == wanted), "it is for runs");
        assert_eq!(scene.list(namespace, "api/v1", "limitranges").len(), 1);

        // The account of runs may do nothing, in no namespace.
        let token = scene.cluster.token_of(namespace, "weir-run").unwrap();
        for place in [&ours, &theirs] {
            for path in ["api/v1/namespaces/NS/secrets", "api/v1/namespaces/NS/pods", "apis/batch/v1/namespaces/NS/jobs"] {
                let path = format!("/{}", path.replace("NS", place));
                assert_eq!(scene.cluster.call_as(&token, "GET", &path, Value::Null).unwrap().0, 403, "{path}");
            }
        }
        let amount = json!({"cpu": "1", "memory": "1Gi"});
        let careless = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"hostNetwork": true, "containers": [{
            "name": "c", "image": "i", "resources": {"requests": amount, "limits": amount}}]}});
        let (status, said) = scene.cluster.call("POST", &format!("/api/v1/namespaces/{namespace}/pods"), careless).unwrap();
        assert!(status == 403 && said.to_string().contains("violates PodSecurity"), "{said}");
    }
    let quota = &scene.list(&theirs, "api/v1", "resourcequotas")[0]["spec"]["hard"];
    assert_eq!(
        (&quota["pods"], &quota["limits.cpu"], &quota["limits.memory"]),
        (&json!("3"), &json!("3"), &json!("3221225472")),
        "{quota}"
    );
    assert!(scene.list(&ours, "api/v1", "resourcequotas").is_empty(), "no quota of the tenant, none of the namespace");
}
