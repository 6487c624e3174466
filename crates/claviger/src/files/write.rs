//! Writing a file so that it is there completely or not at all, also after a crash, and readable by its owner only.

use super::FilesError;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Unfinished files of other or crashed processes that are stepped over.
const LEFTOVERS_MAX: u32 = 64;

/// Creates `path` with this content unless it exists; false when it does (another process may have been faster).
pub(super) fn create(path: &Path, content: &[u8]) -> Result<bool, FilesError> {
    let temporary = write_temporary(path, content)?;
    // A hard link, unlike a rename, never replaces what is there: of two processes that start at once one wins.
    let linked = match fs::hard_link(&temporary, path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        // A file system without hard links. The window between the question and the rename is accepted there.
        Err(_) if path.exists() => Ok(false),
        Err(_) => fs::rename(&temporary, path).map(|()| true),
    };
    // The temporary name is gone already after a rename.
    let _ = fs::remove_file(&temporary);
    let is_new = linked.map_err(FilesError::io("create", path))?;
    sync_parent(path)?;
    Ok(is_new)
}

/// Writes `path`, replacing what is there.
pub(super) fn replace(path: &Path, content: &[u8]) -> Result<(), FilesError> {
    let temporary = write_temporary(path, content)?;
    if let Err(error) = fs::rename(&temporary, path) {
        let _ = fs::remove_file(&temporary);
        return Err(FilesError::io("replace", path)(error));
    }
    sync_parent(path)
}

/// A complete file on disk beside `path`, under a name that no one else uses.
fn write_temporary(path: &Path, content: &[u8]) -> Result<PathBuf, FilesError> {
    let (temporary, mut file) = create_temporary(path)?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    if let Err(error) = written {
        let _ = fs::remove_file(&temporary);
        return Err(FilesError::io("write", &temporary)(error));
    }
    Ok(temporary)
}

fn create_temporary(path: &Path) -> Result<(PathBuf, File), FilesError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    for number in 0..LEFTOVERS_MAX {
        let temporary = path.with_file_name(format!(".{name}.{number}.tmp"));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        match options.open(&temporary) {
            Ok(file) => return Ok((temporary, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(FilesError::io("create", &temporary)(error)),
        }
    }
    Err(FilesError::TooManyLeftovers(path.to_owned()))
}

/// Makes the new name durable.
fn sync_parent(path: &Path) -> Result<(), FilesError> {
    #[cfg(unix)]
    if let Some(parent) = path.parent() {
        let sync = File::open(parent).and_then(|directory| directory.sync_all());
        sync.map_err(FilesError::io("sync", parent))?;
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}
