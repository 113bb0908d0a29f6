//! `weir config show`: every setting, its value and where it came from.

use std::io::Write;

use weir_control::config::show;

use crate::cli::ConfigShow;
use crate::commands::Context;
use crate::commands::serve::setup;
use crate::outcome::Outcome;
use crate::show::table::Table;

pub fn show(args: &ConfigShow, context: &Context) -> Outcome {
    let loaded = setup::loaded(&setup::inputs(&args.settings), context)?;
    let mut out = std::io::stdout();
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&show::to_json(&loaded.effective)).map_err(std::io::Error::from)?)?;
        return Ok(0);
    }
    let mut table = Table::new(["setting", "value", "from"]);
    for one in &loaded.effective {
        table.row([one.field.key, &show::text(one), &one.origin.to_string()]);
    }
    write!(out, "{}", table.render())?;
    Ok(0)
}
