//! The log writer: a small process beside each container, started by containerd's shim.
//!
//! It reads the container's standard output from descriptor 3 and its standard error from descriptor 4, tells by
//! descriptor 5 that it is ready, and ends when the container has closed both. Nothing of it depends on the agent or
//! on containerd, so that both can restart. Shell, blocking.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{SigSet, Signal};

use super::{LogLine, MAX_FILE_BYTES, MAX_FILES, MAX_LINE_BYTES, Stream, file_path, sequences};

/// Bytes read at once.
const READ_BYTES: usize = 16 << 10;
/// Stack of a reading thread: it holds one read buffer and little else.
const STACK_BYTES: usize = 128 << 10;

/// How long the writer of a container that was started again waits for the one before it, which may have a pipe left to read.
/// containerd waits for ten seconds until a writer is ready.
const PREDECESSOR_DEADLINE: Duration = Duration::from_secs(5);
const PREDECESSOR_POLL: Duration = Duration::from_millis(10);

/// Name of the subcommand; containerd passes it with the directory as its argument.
pub const SUBCOMMAND: &str = "container-log";

/// Runs the writer if the process was started as one (`berth container-log DIRECTORY`): `None` if it was not, else the
/// exit code. To be called before anything else in `main`.
pub fn run_if_asked() -> Option<u8> {
    let mut args = std::env::args_os().skip(1);
    if args.next()? != SUBCOMMAND {
        return None;
    }
    let Some(directory) = args.next() else {
        return Some(2);
    };
    match run(Path::new(&directory)) {
        Ok(()) => Some(0),
        // There is nobody to tell: containerd closes this process's standard error.
        Err(_) => Some(1),
    }
}

/// Copies descriptors 3 and 4 into rotated files under `directory` until both are closed.
///
/// # Errors
/// If the directory or the descriptors cannot be opened.
pub fn run(directory: &Path) -> std::io::Result<()> {
    // containerd's shim sends SIGTERM as soon as the container is deleted; what is in the pipes must still be read.
    let mut terminate = SigSet::empty();
    terminate.add(Signal::SIGTERM);
    terminate.thread_block()?;
    let output = File::open("/proc/self/fd/3")?;
    let error = File::open("/proc/self/fd/4")?;
    std::fs::create_dir_all(directory)?;
    let _alone = await_predecessor(directory)?;
    let log = Mutex::new(Rotated::open(directory, MAX_FILE_BYTES, MAX_FILES)?);
    OpenOptions::new()
        .write(true)
        .open("/proc/self/fd/5")?
        .write_all(b"1")?;
    std::thread::scope(|scope| {
        let log = &log;
        let reading = std::thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, move || copy(error, Stream::Stderr, log))?;
        copy(output, Stream::Stdout, log);
        drop(reading.join());
        Ok(())
    })
}

/// Waits until no other process writes this log; past the deadline it is written all the same, since a container without a
/// writer would not start.
fn await_predecessor(directory: &Path) -> std::io::Result<Option<Flock<File>>> {
    let deadline = Instant::now() + PREDECESSOR_DEADLINE;
    let mut opened = File::open(directory)?;
    loop {
        match Flock::lock(opened, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(Some(lock)),
            Err((file, Errno::EWOULDBLOCK)) if Instant::now() < deadline => opened = file,
            Err(_) => return Ok(None),
        }
        std::thread::sleep(PREDECESSOR_POLL);
    }
}

/// Copies one stream to its end. A write that fails (a full disk) loses lines, never the container's progress; that lines were
/// lost is told where they are missing, once the log can be written again.
fn copy(mut from: impl Read, stream: Stream, log: &Mutex<Rotated>) {
    let mut lines = Lines::new(stream);
    let mut buffer = [0u8; READ_BYTES];
    let mut records = Vec::new();
    loop {
        let count = match from.read(&mut buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => 0,
        };
        records.clear();
        lines.take(&buffer[..count], now_ns(), count == 0, &mut records);
        if !records.is_empty() {
            log.lock().unwrap_or_else(PoisonError::into_inner).append(&records);
        }
        if count == 0 {
            return;
        }
    }
}

fn now_ns() -> i64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// Cuts a stream of bytes into records.
struct Lines {
    stream: Stream,
    rest: Vec<u8>,
}

impl Lines {
    fn new(stream: Stream) -> Self {
        Self {
            stream,
            rest: Vec::new(),
        }
    }

    /// Adds `bytes` and appends to `records` the lines that are complete, or all at the end of the stream.
    fn take(&mut self, bytes: &[u8], ts: i64, at_end: bool, records: &mut Vec<u8>) {
        self.rest.extend_from_slice(bytes);
        let mut start = 0;
        loop {
            let rest = &self.rest[start..];
            let window = &rest[..rest.len().min(MAX_LINE_BYTES + 1)];
            if let Some(end) = window.iter().position(|b| *b == b'\n') {
                record(self.stream, ts, &rest[..end], false, records);
                start += end + 1;
            } else if rest.len() > MAX_LINE_BYTES {
                let end = start + whole_characters(&rest[..MAX_LINE_BYTES]);
                record(self.stream, ts, &self.rest[start..end], true, records);
                start = end;
            } else {
                break;
            }
        }
        self.rest.drain(..start);
        if at_end && !self.rest.is_empty() {
            record(self.stream, ts, &self.rest, false, records);
            self.rest.clear();
        }
    }
}

/// The length of `bytes` without a character that is cut at its end.
fn whole_characters(bytes: &[u8]) -> usize {
    let tail = bytes.iter().rev().take(4).take_while(|b| **b & 0xC0 == 0x80).count();
    let lead = bytes.len().saturating_sub(tail + 1);
    let needed = match bytes.get(lead) {
        Some(b) if b & 0xE0 == 0xC0 => 2,
        Some(b) if b & 0xF0 == 0xE0 => 3,
        Some(b) if b & 0xF8 == 0xF0 => 4,
        _ => return bytes.len(),
    };
    if bytes.len() - lead < needed && lead > 0 {
        lead
    } else {
        bytes.len()
    }
}

fn record(stream: Stream, ts: i64, line: &[u8], partial: bool, records: &mut Vec<u8>) {
    let line = LogLine {
        ts,
        stream,
        line: String::from_utf8_lossy(line).into_owned(),
        partial,
    };
    if serde_json::to_writer(&mut *records, &line).is_ok() {
        records.push(b'\n');
    }
}

/// The numbered files of one directory, appended to at the newest.
struct Rotated {
    directory: PathBuf,
    sequence: u64,
    file: File,
    /// Bytes of whole records in the file.
    size: u64,
    max_bytes: u64,
    max_files: u64,
    lost: Option<Lost>,
}

/// Records that could not be written since the last that could.
struct Lost {
    records: usize,
    why: std::io::Error,
}

impl Lost {
    /// What is told of them, as a record.
    fn notice(&self) -> Vec<u8> {
        let Self { records, why } = self;
        let text = format!("[berth] {records} lines are missing here, since the log could not be written: {why}");
        let mut notice = Vec::new();
        record(Stream::Stderr, now_ns(), text.as_bytes(), false, &mut notice);
        notice
    }
}

impl Rotated {
    fn open(directory: &Path, max_bytes: u64, max_files: u64) -> std::io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let sequence = sequences(directory)?.last().copied().unwrap_or(1);
        let file = open_append(directory, sequence)?;
        let size = whole_records(&file)?;
        // What a power cut has left of a record would spoil the next one.
        file.set_len(size)?;
        Ok(Self {
            directory: directory.to_owned(),
            sequence,
            file,
            size,
            max_bytes,
            max_files,
            lost: None,
        })
    }

    /// Appends whole records, beginning the next file first if they do not fit. Those that cannot be written are lost.
    fn append(&mut self, records: &[u8]) {
        if self.size > 0 && self.size + records.len() as u64 > self.max_bytes {
            self.begin_next();
        }
        let notice = self.lost.as_ref().map(Lost::notice).unwrap_or_default();
        let begun_at = self.size;
        let both = [notice.as_slice(), records].concat();
        let Err((written, why)) = self.write(&both) else {
            self.lost = None;
            return;
        };
        if written > notice.len() {
            let records = count(&both[written..]);
            self.lost = Some(Lost { records, why });
            return;
        }
        // Without a record after it the notice would only be repeated.
        self.shorten(begun_at);
        let before = self.lost.as_ref().map_or(0, |lost| lost.records);
        let records = before + count(records);
        self.lost = Some(Lost { records, why });
    }

    /// Begins the next file and removes the oldest. Where it cannot be begun, the log goes on in the one that there is.
    fn begin_next(&mut self) {
        let next = self.sequence + 1;
        let Ok(file) = open_append(&self.directory, next) else {
            return;
        };
        self.file = file;
        self.sequence = next;
        self.size = 0;
        let old = sequences(&self.directory).unwrap_or_default();
        for old in old.into_iter().filter(|s| s + self.max_files <= next) {
            // Tried again at the next rotation.
            std::fs::remove_file(file_path(&self.directory, old)).ok();
        }
    }

    /// Writes records; an error says how many of their bytes are in whole records that were written. No part of a record stays.
    fn write(&mut self, records: &[u8]) -> Result<(), (usize, std::io::Error)> {
        let mut written = 0;
        while written < records.len() {
            let why = match self.file.write(&records[written..]) {
                Ok(0) => std::io::ErrorKind::WriteZero.into(),
                Ok(bytes) => {
                    written += bytes;
                    continue;
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            let whole = records[..written]
                .iter()
                .rposition(|b| *b == b'\n')
                .map_or(0, |at| at + 1);
            self.shorten(self.size + whole as u64);
            return Err((whole, why));
        }
        self.size += written as u64;
        Ok(())
    }

    /// Cuts off what follows whole records. That takes no space; were it to fail, the next record would be spoiled.
    fn shorten(&mut self, size: u64) {
        self.size = size;
        self.file.set_len(size).ok();
    }
}

/// Number of records.
fn count(records: &[u8]) -> usize {
    records.iter().filter(|b| **b == b'\n').count()
}

/// The length of a file up to the end of its last whole record.
fn whole_records(file: &File) -> std::io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut piece = [0u8; 4096];
    while end > 0 {
        let length = end.min(piece.len() as u64);
        let begin = end - length;
        let piece = &mut piece[..usize::try_from(length).unwrap_or(4096)];
        file.read_exact_at(piece, begin)?;
        if let Some(at) = piece.iter().rposition(|b| *b == b'\n') {
            return Ok(begin + at as u64 + 1);
        }
        end = begin;
    }
    Ok(0)
}

fn open_append(directory: &Path, sequence: u64) -> std::io::Result<File> {
    OpenOptions::new()
        .create(true)
        .read(true)
        .append(true)
        .open(file_path(directory, sequence))
}

#[cfg(test)]
mod tests {
    use super::super::reader;
    use super::*;

    fn lines_of(pieces: &[&[u8]]) -> Vec<LogLine> {
        let mut lines = Lines::new(Stream::Stdout);
        let mut records = Vec::new();
        for (i, piece) in pieces.iter().enumerate() {
            lines.take(piece, i64::try_from(i).unwrap(), false, &mut records);
        }
        lines.take(&[], 99, true, &mut records);
        records
            .split(|b| *b == b'\n')
            .filter(|r| !r.is_empty())
            .map(|r| serde_json::from_slice(r).unwrap())
            .collect()
    }

    #[test]
    fn lines_cut_across_reads_are_put_together() {
        let lines = lines_of(&[b"a\nb", b"c\n\nlast"]);
        let texts: Vec<&str> = lines.iter().map(|l| l.line.as_str()).collect();
        assert_eq!(texts, ["a", "bc", "", "last"]);
        assert_eq!((lines[1].ts, lines[3].ts), (1, 99));
    }

    #[test]
    fn lines_longer_than_the_bound_are_split_and_marked_partial() {
        let long = "é".repeat(MAX_LINE_BYTES);
        let lines = lines_of(&[format!("x{long}\n").as_bytes()]);
        assert_eq!(lines.iter().map(|l| l.partial).collect::<Vec<_>>(), [true, true, false]);
        assert_eq!(
            lines.iter().map(|l| l.line.as_str()).collect::<String>(),
            format!("x{long}")
        );
    }

    #[test]
    fn lines_of_binary_data_are_kept_lossily() {
        assert_eq!(lines_of(&[b"\xff\xfeok\n"])[0].line, "\u{fffd}\u{fffd}ok");
        assert_eq!(lines_of(&[&vec![0xbf; MAX_LINE_BYTES * 2][..]]).len(), 2);
    }

    #[test]
    fn rotated_past_its_bounds_keeps_the_newest_files() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Rotated::open(dir.path(), 100, 3).unwrap();
        for _ in 0..10 {
            log.append(&line(60));
        }
        assert_eq!(sequences(dir.path()).unwrap(), [8, 9, 10]);
        let again = Rotated::open(dir.path(), 100, 3).unwrap();
        assert_eq!((again.sequence, again.size), (10, 60));
    }

    /// A record of so many bytes.
    fn line(bytes: usize) -> Vec<u8> {
        let mut records = Vec::new();
        record(Stream::Stdout, 1, b"", false, &mut records);
        let filler = vec![b'x'; bytes - records.len()];
        records.clear();
        record(Stream::Stdout, 1, &filler, false, &mut records);
        records
    }

    fn texts(directory: &Path) -> Vec<String> {
        let page = reader::tail(directory, usize::MAX, usize::MAX).unwrap();
        page.lines.into_iter().map(|line| line.line).collect()
    }

    #[test]
    fn record_that_a_crash_cut_short_does_not_spoil_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let whole = line(60);
        let cut = [&whole[..], &whole[..30]].concat();
        std::fs::write(file_path(dir.path(), 1), cut).unwrap();
        let mut log = Rotated::open(dir.path(), 1000, 3).unwrap();
        log.append(&line(70));
        assert_eq!(texts(dir.path()).len(), 2);
        assert_eq!(log.size, 130);
    }

    /// A disk of 64 KiB, which takes root.
    struct SmallDisk(tempfile::TempDir);

    impl SmallDisk {
        fn mount() -> Option<Self> {
            if !nix::unistd::geteuid().is_root() {
                eprintln!("not run: a small disk takes root");
                return None;
            }
            let disk = Self(tempfile::tempdir().unwrap());
            let (none, flags) = (None::<&str>, nix::mount::MsFlags::empty());
            nix::mount::mount(none, disk.0.path(), Some("tmpfs"), flags, Some("size=64k")).unwrap();
            Some(disk)
        }
    }

    impl Drop for SmallDisk {
        fn drop(&mut self) {
            nix::mount::umount(self.0.path()).unwrap();
        }
    }

    #[test]
    fn log_on_a_full_disk_keeps_what_it_has_and_tells_what_it_has_not() {
        let Some(disk) = SmallDisk::mount() else { return };
        let directory = disk.0.path().join("log");
        let other = disk.0.path().join("other");
        std::fs::write(&other, vec![0; 40 << 10]).unwrap();
        let mut log = Rotated::open(&directory, 100 << 10, 3).unwrap();
        // Far more than files are kept of, in batches of four.
        for _ in 0..200 {
            log.append(&line(1000).repeat(4));
        }
        let kept = texts(&directory).len();
        assert!((16..=24).contains(&kept), "{kept} of the first lines are kept");
        assert_eq!(
            log.sequence, 1,
            "what was not written is no reason to begin another file"
        );

        std::fs::remove_file(other).unwrap();
        log.append(&line(1000));
        let lines = texts(&directory);
        assert_eq!(lines.len(), kept + 2);
        let notice = &lines[kept];
        assert!(
            notice.starts_with(&format!("[berth] {} lines are missing here", 800 - kept))
                && notice.contains("No space"),
            "{notice}"
        );
    }
}
