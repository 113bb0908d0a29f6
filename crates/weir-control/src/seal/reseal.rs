//! After a key was changed: what the old one sealed is sealed with the new one, so that the old one can go.

use serde::Serialize;
use weir_error::{Kind, Result};
use weir_store::model::{NewConnection, PageRequest, SealedSecret, TenantId};
use weir_store::{Actor, Store, TenantScope, TenantStore};

use super::{KeyRing, Place};
use crate::connections::{SECRETS_TABLE, TABLE as CONNECTIONS_TABLE};

/// The table of subscriptions, as their seals know it; the row is the address as it is shown.
const SUBSCRIPTIONS_TABLE: &str = "subscriptions";

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Resealed {
    /// Values that are sealed with the present key now.
    pub resealed: u64,
    /// Values that were already.
    pub current: u64,
    /// `tenant/table/row` of those that no key opens; they must be set again.
    pub unreadable: Vec<String>,
    /// `tenant/table/row` of those that an old key sealed and that cannot be sealed anew in place: keep that key, or make them again.
    pub left: Vec<String>,
}

/// Goes through all tenants. May be stopped and started again; a value that changes meanwhile is sealed with the present key by whoever changes it.
pub async fn reseal(store: &Store, keys: &KeyRing) -> Result<Resealed> {
    let mut done = Resealed::default();
    let mut page = PageRequest { limit: 500, cursor: None };
    loop {
        let tenants = store.system().tenants(&page).await?;
        for tenant in &tenants.items {
            let store = store.tenant(&TenantScope::granted(tenant.id.clone(), Actor::system("reseal")));
            connections(&store, keys, &tenant.id, &mut done).await?;
            secrets(&store, keys, &tenant.id, &mut done).await?;
            for subscription in store.list_subscriptions().await? {
                let place = Place { tenant: &tenant.id, table: SUBSCRIPTIONS_TABLE, row: &subscription.url };
                if let Some(sealed) = &subscription.sealed
                    && anew(keys, &place, sealed, &mut done)?.is_some()
                {
                    done.left.push(named(&place));
                }
            }
        }
        match tenants.next_cursor {
            Some(cursor) => page.cursor = Some(cursor),
            None => return Ok(done),
        }
    }
}

async fn connections(store: &TenantStore, keys: &KeyRing, tenant: &TenantId, done: &mut Resealed) -> Result<()> {
    let mut page = PageRequest { limit: 500, cursor: None };
    loop {
        let found = store.list_connections(&page).await?;
        for connection in found.items {
            let Some(sealed) = &connection.body.sealed else { continue };
            let place = Place { tenant, table: CONNECTIONS_TABLE, row: &connection.body.name };
            let Some(new) = anew(keys, &place, sealed, done)? else { continue };
            let body = NewConnection { sealed: Some(new), ..connection.body.clone() };
            match store.put_connection(body, Some(connection.version)).await {
                Ok(_) => done.resealed += 1,
                // Changed or deleted meanwhile: by somebody who has the present key.
                Err(error) if matches!(error.kind(), Kind::Conflict | Kind::NotFound) => done.current += 1,
                Err(error) => return Err(error),
            }
        }
        match found.next_cursor {
            Some(cursor) => page.cursor = Some(cursor),
            None => return Ok(()),
        }
    }
}

async fn secrets(store: &TenantStore, keys: &KeyRing, tenant: &TenantId, done: &mut Resealed) -> Result<()> {
    for secret in store.secret_names().await? {
        let Some(sealed) = store.secret(&secret.name).await? else { continue };
        let place = Place { tenant, table: SECRETS_TABLE, row: &secret.name };
        if let Some(new) = anew(keys, &place, &sealed, done)? {
            store.set_secret(&secret.name, new).await?;
            done.resealed += 1;
        }
    }
    Ok(())
}

/// The value sealed with the present key, if an older one sealed it and opens it still.
fn anew(keys: &KeyRing, place: &Place<'_>, sealed: &SealedSecret, done: &mut Resealed) -> Result<Option<SealedSecret>> {
    if keys.is_current(sealed) {
        done.current += 1;
        return Ok(None);
    }
    match keys.open(place, sealed) {
        Ok(plain) => keys.seal(place, &plain).map(Some),
        Err(error) => {
            tracing::warn!(error = ?error, "a sealed value does not open");
            done.unreadable.push(named(place));
            Ok(None)
        }
    }
}

fn named(place: &Place<'_>) -> String {
    format!("{}/{}/{}", place.tenant, place.table, place.row)
}
