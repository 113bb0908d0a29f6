//! `weir backup` and `weir restore`: the metadata database as one file.

use std::io::Write;
use std::path::Path;

use weir_error::{Error, Kind, Result};
use weir_store::{Checkpoints, Store};

use crate::cli::{Backup, Restore};
use crate::commands::Context;
use crate::commands::serve::setup;
use crate::outcome::Outcome;
use crate::process::block_on_platform;

pub fn backup(args: &Backup, context: &Context) -> Outcome {
    let settings = setup::load(&setup::inputs(&args.settings), context)?;
    if args.file.exists() {
        return Err(Error::new("WEIR-CLI-062", Kind::Spec, "there is such a file already")
            .at(args.file.display().to_string())
            .hint("a backup never replaces another; name a new file")
            .into());
    }
    block_on_platform(async {
        let store = Store::open(&settings.database_url, &settings.data_dir).await?;
        match args.portable {
            true => store.dump(&args.file).await?,
            false => store.backup(&args.file).await?,
        }
        let size = std::fs::metadata(&args.file)?.len();
        writeln!(std::io::stdout(), "{} {size}", args.file.display())?;
        eprintln!("{} {} holds the database", context.err.green("done:"), args.file.display());
        if settings.seal_key.is_none() {
            let key = settings.data_dir.join(weir_control::seal::FILE);
            eprintln!("keep {} too, in another place: without it the sealed secrets are lost", key.display());
        }
        let folder = settings.data_dir.join("tenants").display().to_string();
        let files = settings.files.as_ref().map_or(folder.clone(), |bucket| bucket.shown());
        match crate::checkpoints::in_database(&settings) {
            true => {
                eprintln!("it holds the checkpoints of runs; not in it: tenants' files in {files}, journals of logs in {folder}")
            }
            false => eprintln!("not in it: tenants' files in {files}, checkpoints and journals in {folder}"),
        }
        Ok(0)
    })
}

pub fn restore(args: &Restore, context: &Context) -> Outcome {
    let settings = setup::load(&setup::inputs(&args.settings), context)?;
    check_file(&args.file)?;
    block_on_platform(async {
        std::fs::create_dir_all(&settings.data_dir)?;
        let checkpoints = if args.without_checkpoints { Checkpoints::Leave } else { Checkpoints::Restore };
        // Their tables are the engine's: they must be there.
        crate::checkpoints::open(&settings).await?;
        let store = Store::restore(&settings.database_url, &settings.data_dir, &args.file, checkpoints).await?;
        let check = store.system().audit_verify(None).await?;
        eprintln!("{} the database is restored; {} rows of the audit log were verified", context.err.green("done:"), check.rows);
        if let Some(broken) = check.broken {
            eprintln!("{} {}", context.err.yellow("warning:"), super::audit::broken_words(&broken));
        }
        Ok(0)
    })
}

fn check_file(file: &Path) -> Result<()> {
    if file.is_file() {
        return Ok(());
    }
    Err(Error::new("WEIR-CLI-063", Kind::NotFound, "there is no such backup")
        .at(file.display().to_string())
        .hint("`weir backup FILE` writes one"))
}
