//! Append-only files of JSON lines: how queues and schedules outlive the process.
//!
//! A record is acknowledged only after the operating system has it, so a killed process loses nothing; a power cut may. A
//! torn last line is the trace of a kill in mid-write and is dropped; damage anywhere else is an error.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Files grow to at least this many bytes before they are rewritten: 8 MiB.
const SMALLEST_REWRITE_BYTES: u64 = 8 << 20;

/// What can go wrong with a journal.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file or folder cannot be used.
    #[error("cannot {doing} {}", path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// To which file or folder.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The file holds something that was never written there.
    #[error("{} is damaged at line {line}: {reason}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// The line's number, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
}

/// The journals in `folder`, in order of their names. The folder is created when missing.
pub(crate) fn files_in(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = |source| failure("read", folder, source);
    fs::create_dir_all(folder).map_err(|source| failure("create", folder, source))?;
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "jsonl")
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// One open journal.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    bytes: u64,
    rewrite_at_bytes: u64,
    buffer: Vec<u8>,
}

impl Journal {
    /// A new, empty journal; one that was there is emptied.
    pub(crate) fn create(path: &Path) -> Result<Self, Error> {
        let file = File::create(path).map_err(|source| failure("create", path, source))?;
        Self::new(path, file, 0)
    }

    /// Opens a journal, which is created when missing, and reads its records.
    pub(crate) fn open<R: DeserializeOwned>(path: &Path) -> Result<(Self, Vec<R>), Error> {
        let failed = |doing| move |source| failure(doing, path, source);
        let content = match fs::read(path) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(failure("read", path, error)),
        };
        let whole = content
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let mut records = Vec::new();
        for (number, line) in content[..whole]
            .split_inclusive(|byte| *byte == b'\n')
            .enumerate()
        {
            records.push(
                serde_json::from_slice(line).map_err(|error| Error::Damaged {
                    path: path.to_path_buf(),
                    line: number + 1,
                    reason: error.to_string(),
                })?,
            );
        }
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .map_err(failed("open"))?;
        if whole < content.len() {
            tracing::warn!(path = %path.display(), bytes = content.len() - whole, "dropped a torn last line");
            file.set_len(whole as u64).map_err(failed("mend"))?;
        }
        Ok((Self::new(path, file, whole as u64)?, records))
    }

    fn new(path: &Path, file: File, bytes: u64) -> Result<Self, Error> {
        Ok(Self {
            path: path.to_path_buf(),
            file,
            bytes,
            rewrite_at_bytes: SMALLEST_REWRITE_BYTES.max(bytes.saturating_mul(4)),
            buffer: Vec::new(),
        })
    }

    /// Writes the records in one go; after an error none of them is there.
    pub(crate) fn append<R: Serialize>(&mut self, records: &[R]) -> Result<(), Error> {
        self.buffer.clear();
        for record in records {
            serialize(&mut self.buffer, record)
                .map_err(|source| failure("write", &self.path, source))?;
        }
        if let Err(source) = self.file.write_all(&self.buffer) {
            // What was half written would damage the next record.
            let _ = self.file.set_len(self.bytes);
            return Err(failure("write", &self.path, source));
        }
        self.bytes += self.buffer.len() as u64;
        Ok(())
    }

    /// Whether most of the file is likely to be history that nobody needs.
    pub(crate) fn is_bloated(&self) -> bool {
        self.bytes >= self.rewrite_at_bytes
    }

    /// Replaces the whole content, atomically.
    pub(crate) fn rewrite<R: Serialize>(&mut self, records: &[R]) -> Result<(), Error> {
        let fresh = self.path.with_extension("jsonl.new");
        let failed = |source| failure("write", &fresh, source);
        let mut content = Vec::new();
        for record in records {
            serialize(&mut content, record).map_err(failed)?;
        }
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&fresh)
            .map_err(failed)?;
        file.set_len(0).map_err(failed)?;
        file.write_all(&content).map_err(failed)?;
        file.sync_data().map_err(failed)?;
        fs::rename(&fresh, &self.path).map_err(|source| failure("replace", &self.path, source))?;
        *self = Self::new(&self.path, file, content.len() as u64)?;
        Ok(())
    }

    /// An error about this file's content: `line` counts from 1.
    pub(crate) fn damaged(&self, line: usize, reason: &str) -> Error {
        Error::Damaged {
            path: self.path.clone(),
            line,
            reason: reason.to_owned(),
        }
    }

    /// Removes the file.
    pub(crate) fn remove(self) -> Result<(), Error> {
        fs::remove_file(&self.path).map_err(|source| failure("remove", &self.path, source))
    }
}

fn serialize<R: Serialize>(buffer: &mut Vec<u8>, record: &R) -> io::Result<()> {
    serde_json::to_writer(&mut *buffer, record)?;
    buffer.push(b'\n');
    Ok(())
}

fn failure(doing: &'static str, path: &Path, source: io::Error) -> Error {
    Error::File {
        doing,
        path: path.to_path_buf(),
        source,
    }
}
