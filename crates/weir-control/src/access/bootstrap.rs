//! The first start: somebody must be able to make the first token.

use weir_error::{Kind, Result, Secret};
use weir_store::model::{Quotas, TenantId};
use weir_store::{Actor, Store};

use super::token::new_token;
use crate::config::Settings;

/// Makes sure that the settings' tenant is there. On an empty database it also makes the principal `admin` and gives its token, which
/// is not kept anywhere: whoever starts the first server reads it from the terminal. Among several servers one gets it.
pub async fn bootstrap(store: &Store, settings: &Settings) -> Result<Option<Secret>> {
    let token = new_token();
    let system = store.system();
    let first = system.bootstrap("Default", &token.hash, &token.prefix).await?;
    let own = TenantId::from(settings.tenant_id.as_str());
    if let Err(error) = system.tenant(&own).await {
        if error.kind() != Kind::NotFound {
            return Err(error);
        }
        if let Err(error) = system.create_tenant(&Actor::system("start"), &own, &settings.tenant_id, Quotas::default()).await {
            // Another server may have made it in between.
            system.tenant(&own).await.map_err(|_| error)?;
        }
    }
    Ok(first.then_some(token.secret))
}
