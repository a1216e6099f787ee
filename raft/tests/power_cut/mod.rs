//! A power cut: what a process wrote into a folder and no sync covered is taken back in part, page by page.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Bytes that a disk writes as one.
const PAGE_BYTES: u64 = 4096;

/// Length of a record's head in the log of the disk.
const HEAD_BYTES: usize = 29;

/// A disk under one folder that remembers what is synced.
pub(crate) struct Disk {
    folder: PathBuf,
    log: PathBuf,
}

/// One write that no sync covered.
struct Write {
    path: PathBuf,
    offset: u64,
    /// What was there; zeros where the file had ended.
    before: Vec<u8>,
}

impl Disk {
    /// A disk that keeps its log in another folder.
    pub(crate) fn new(folder: &Path, log: PathBuf) -> Self {
        Self {
            folder: folder.to_owned(),
            log,
        }
    }

    /// Puts a process on this disk.
    pub(crate) fn equip(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", library())
            .env("BERTH_DISK_FOLDER", &self.folder)
            .env("BERTH_DISK_LOG", &self.log);
    }

    /// Cuts the power: the process on the disk is gone; each page keeps some first ones of the writes that no sync covered. How
    /// many the draws decide. Returns the number of writes that were in doubt.
    pub(crate) fn cut(&self, mut below: impl FnMut(u64) -> u64) -> usize {
        let writes = unsynced(&fs::read(&self.log).unwrap());
        let mut pages: BTreeMap<(PathBuf, u64), Vec<&Write>> = BTreeMap::new();
        for write in &writes {
            for page in write.offset / PAGE_BYTES..write.end().div_ceil(PAGE_BYTES) {
                pages.entry((write.path.clone(), page)).or_default().push(write);
            }
        }
        for ((path, page), writes) in pages {
            let Ok(file) = File::options().read(true).write(true).open(&path) else {
                continue;
            };
            let kept = usize::try_from(below(writes.len() as u64 + 1)).unwrap();
            for write in writes[kept..].iter().rev() {
                let start = write.offset.max(page * PAGE_BYTES);
                let end = write.end().min((page + 1) * PAGE_BYTES);
                let part = usize::try_from(start - write.offset).unwrap()..usize::try_from(end - write.offset).unwrap();
                file.write_all_at(&write.before[part], start).unwrap();
            }
        }
        fs::remove_file(&self.log).unwrap();
        writes.len()
    }
}

impl Write {
    fn end(&self) -> u64 {
        self.offset + self.before.len() as u64
    }
}

/// The writes in the log of a disk behind the last sync of each file.
fn unsynced(mut log: &[u8]) -> Vec<Write> {
    let mut writes: Vec<Write> = Vec::new();
    while let Some((head, rest)) = log.split_first_chunk::<HEAD_BYTES>() {
        let number = |from: usize| u64::from_ne_bytes(head[from..from + 8].try_into().unwrap());
        let path_bytes = u32::from_ne_bytes(head[1..5].try_into().unwrap()) as usize;
        let (written_bytes, before_bytes) = (number(13), usize::try_from(number(21)).unwrap());
        // The last record may be cut short: its write did not happen.
        let Some((body, rest)) = rest.split_at_checked(path_bytes + before_bytes) else {
            break;
        };
        let path = PathBuf::from(str::from_utf8(&body[..path_bytes]).unwrap());
        match head[0] {
            b's' => writes.retain(|write| write.path != path),
            _ => {
                let mut before = body[path_bytes..].to_vec();
                before.resize(usize::try_from(written_bytes).unwrap(), 0);
                let offset = number(5);
                writes.push(Write { path, offset, before });
            }
        }
        log = rest;
    }
    writes
}

/// The library that makes a process write down what it writes, compiled once.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/faults/disk.c");
        let library = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("disk-{}.so", std::process::id()));
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&library)
            .arg(source)
            .args(["-ldl", "-lpthread"])
            .status()
            .expect("a C compiler, as building Berth needs one");
        assert!(compiled.success(), "{source} does not compile");
        library
    })
}
