//! `weir audit verify`: whether the audit log is as it was written.

use std::io::Write;

use serde_json::json;
use weir_store::Store;
use weir_store::model::{Broken, TenantId};

use crate::cli::AuditVerify;
use crate::commands::Context;
use crate::commands::serve::setup;
use crate::outcome::Outcome;
use crate::process::block_on_platform;

pub fn verify(args: &AuditVerify, context: &Context) -> Outcome {
    let settings = setup::load(&setup::inputs(&args.settings), context)?;
    block_on_platform(async {
        let store = Store::open(&settings.database_url, &settings.data_dir).await?;
        let tenant = args.tenant.as_deref().map(TenantId::from);
        if let Some(tenant) = &tenant {
            // A log of nobody would be whole.
            store.system().tenant(tenant).await?;
        }
        let check = store.system().audit_verify(tenant.as_ref()).await?;
        let code = u8::from(check.broken.is_some());
        if args.json {
            let broken =
                check.broken.as_ref().map(|broken| json!({"tenant": broken.tenant_id, "seq": broken.seq, "why": broken.why}));
            writeln!(std::io::stdout(), "{}", json!({"rows": check.rows, "whole": broken.is_none(), "broken": broken}))?;
            return Ok(code);
        }
        match &check.broken {
            None => writeln!(std::io::stdout(), "{} rows, all as they were written", check.rows)?,
            Some(broken) => {
                writeln!(std::io::stdout(), "{} rows before the first that is not as it was written", check.rows)?;
                eprintln!("{} {}", context.err.red("broken:"), broken_words(broken));
                eprintln!("compare with a backup: rows from there on cannot be trusted");
            }
        }
        Ok(code)
    })
}

/// A broken chain in words.
pub fn broken_words(broken: &Broken) -> String {
    format!("the audit log of tenant `{}` at row {}: {}", broken.tenant_id, broken.seq, broken.why)
}
