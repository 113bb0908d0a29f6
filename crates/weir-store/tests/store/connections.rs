//! Connections and secrets.

use weir_error::Kind;
use weir_store::model::*;

use crate::world::*;

fn connection(name: &str) -> NewConnection {
    NewConnection {
        name: name.into(),
        kind: "postgres".into(),
        options: serde_json::json!({"host": "db", "port": 5432}),
        sealed: Some(SealedSecret(vec![0, 1, 255])),
        secret_names: vec!["password".into()],
    }
}

both! {
    async fn a_connection_is_made_once_and_changed_by_version(world) {
        let tenant = world.tenant("acme").await;
        let made = tenant.put_connection(connection("crm"), None).await.unwrap();
        assert_eq!((made.version, &made.body), (1, &connection("crm")));
        assert_eq!(tenant.connection(&made.id).await.unwrap(), made);
        assert_eq!(tenant.connection_by_name("crm").await.unwrap(), Some(made.clone()));
        is(tenant.put_connection(connection("crm"), None).await.unwrap_err(), "WEIR-STORE-021", Kind::Conflict);
        is(tenant.put_connection(connection("crm"), Some(2)).await.unwrap_err(), "WEIR-STORE-022", Kind::Conflict);
        is(tenant.put_connection(connection("none"), Some(1)).await.unwrap_err(), "WEIR-STORE-404", Kind::NotFound);
        let mut next = connection("crm");
        next.sealed = None;
        let changed = tenant.put_connection(next.clone(), Some(1)).await.unwrap();
        assert_eq!((changed.version, &changed.id, &changed.body), (2, &made.id, &next));
        assert_eq!(tenant.connection(&made.id).await.unwrap(), changed);
    }

    async fn a_connection_in_use_is_not_deleted(world) {
        let tenant = world.tenant("acme").await;
        let made = tenant.put_connection(connection("crm"), None).await.unwrap();
        let mut user = job("user");
        user.connections = vec!["crm".into()];
        let user = tenant.create_job(user, vec![]).await.unwrap();
        let refused = tenant.delete_connection(&made.id, None).await.unwrap_err();
        assert!(refused.why().unwrap().contains("user"));
        is(refused, "WEIR-STORE-024", Kind::Conflict);
        is(tenant.delete_connection(&made.id, Some(7)).await.unwrap_err(), "WEIR-STORE-022", Kind::Conflict);
        tenant.update_job(&user.id, None, job("user"), "", None).await.unwrap();
        tenant.delete_connection(&made.id, Some(1)).await.unwrap();
        is(tenant.connection(&made.id).await.unwrap_err(), "WEIR-STORE-404", Kind::NotFound);
    }

    async fn connections_are_listed_by_name(world) {
        let tenant = world.tenant("acme").await;
        for name in ["b", "a", "c", "B"] {
            tenant.put_connection(connection(name), None).await.unwrap();
        }
        let first = tenant.list_connections(&page(3)).await.unwrap();
        let rest = tenant.list_connections(&PageRequest { limit: 3, cursor: first.next_cursor }).await.unwrap();
        let names: Vec<_> = first.items.into_iter().chain(rest.items).map(|connection| connection.body.name).collect();
        assert_eq!((names, rest.next_cursor), (["B", "a", "b", "c"].map(str::to_owned).to_vec(), None));
    }

    async fn a_secret_is_kept_byte_for_byte_and_never_audited(world) {
        let tenant = world.tenant("acme").await;
        tenant.set_secret("key", SealedSecret(b"first".to_vec())).await.unwrap();
        tenant.set_secret("key", SealedSecret(Vec::new())).await.unwrap();
        assert_eq!(tenant.secret("key").await.unwrap(), Some(SealedSecret(Vec::new())));
        let bytes: Vec<u8> = (0..=255).collect();
        tenant.set_secret("key", SealedSecret(bytes.clone())).await.unwrap();
        assert_eq!(world.twin(&tenant).secret("key").await.unwrap(), Some(SealedSecret(bytes)));
        assert_eq!(tenant.secret_names().await.unwrap().len(), 1);
        tenant.delete_secret("key").await.unwrap();
        assert_eq!(tenant.secret("key").await.unwrap(), None);
        is(tenant.delete_secret("key").await.unwrap_err(), "WEIR-STORE-404", Kind::NotFound);
        let log = tenant.audit_log(&AuditFilter::default(), &page(100)).await.unwrap();
        assert!(!format!("{log:?}").contains("first"));
    }
}
