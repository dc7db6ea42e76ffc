//! Event files, as TensorBoard reads them: records of TensorFlow's framing, each with checksums,
//! that hold messages of protocol buffers (`tensorflow/core/util/event.proto`, `summary.proto`).

use crate::storage::protobuf::{Field, Message, fields};
use crate::storage::{atomic, file_system};
use crate::{Error, Result, files};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

const PREFIX: &str = "events.out.tfevents.";
const SUFFIX: &str = ".wgvq";
/// The name in front of the columns of a run's log.
pub const TRAIN: &str = "train";
/// Likewise, of its measurements.
pub const TEST: &str = "test";
/// The most bars of a histogram.
const BARS: usize = 1024;

/// Whether this is the name of an event file that [`EventLog`] wrote.
pub fn is_event_file(name: &str) -> bool {
    let middle = name
        .strip_prefix(PREFIX)
        .and_then(|n| n.strip_suffix(SUFFIX));
    middle.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// CRC-32C (Castagnoli, RFC 3720), a byte at a time.
fn crc32c(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let (mut table, mut i) = ([0; 256], 0);
        while i < 256 {
            let (mut value, mut bit) = (i as u32, 0);
            while bit < 8 {
                value = (value >> 1) ^ if value & 1 == 1 { 0x82F6_3B78 } else { 0 };
                bit += 1;
            }
            table[i] = value;
            i += 1;
        }
        table
    };
    !bytes.iter().fold(!0u32, |crc, byte| {
        TABLE[usize::from(crc as u8 ^ byte)] ^ (crc >> 8)
    })
}

/// The checksum as records have it, so that one of bytes with a checksum among them is sound too.
fn masked(bytes: &[u8]) -> [u8; 4] {
    let masked = crc32c(bytes).rotate_right(15).wrapping_add(0xA282_EAD8);
    masked.to_le_bytes()
}

fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let parts: [&[u8]; 4] = [&length, &masked(&length), data, &masked(data)];
    parts.concat()
}

/// Returns the records of a file's bytes up to the first that is cut short or damaged.
fn records(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    let mut next = || {
        let (length, rest) = bytes.split_first_chunk::<8>()?;
        let (sum, rest) = rest.split_first_chunk::<4>()?;
        let n = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        let (data, rest) = rest.split_at_checked(n)?;
        let (data_sum, rest) = rest.split_first_chunk::<4>()?;
        bytes = rest;
        (masked(length) == *sum && masked(data) == *data_sum).then_some(data)
    };
    while let Some(data) = next() {
        found.push(data);
    }
    found
}

/// An event of a file, as far as this module reads one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Event {
    /// The step.
    pub step: u64,
    /// The name and value of each number.
    pub scalars: Vec<(String, f32)>,
    /// The names of what is no number: images, histograms, texts.
    pub others: Vec<String>,
}

fn event(data: &[u8]) -> Option<Event> {
    let mut event = Event::default();
    for (field, value) in fields(data)? {
        match (field, value) {
            (2, Field::Int(step)) => event.step = step,
            (5, Field::Bytes(summary)) => {
                for (_, value) in fields(summary)? {
                    let Field::Bytes(value) = value else {
                        continue;
                    };
                    let (mut name, mut number) = (String::new(), None);
                    for (field, value) in fields(value)? {
                        match (field, value) {
                            (1, Field::Bytes(tag)) => {
                                name = String::from_utf8_lossy(tag).into_owned();
                            }
                            (2, Field::Float(value)) => number = Some(value),
                            _ => {}
                        }
                    }
                    match number {
                        Some(number) => event.scalars.push((name, number)),
                        None => event.others.push(name),
                    }
                }
            }
            _ => {}
        }
    }
    Some(event)
}

impl Event {
    /// Whether this is a row of the log, and not something measured.
    fn is_row(&self) -> bool {
        let mut names = self.scalars.iter().map(|(name, _)| name);
        names.any(|name| name.split('/').next() == Some(TRAIN))
    }
}

/// Returns the events of a folder's files, in their order.
///
/// # Errors
/// If a file cannot be read.
pub fn events(folder: &Path) -> Result<Vec<Event>> {
    let mut all = Vec::new();
    for path in event_files(folder)? {
        let bytes = files::read(&path, files::MODEL)?;
        all.extend(records(&bytes).into_iter().filter_map(event));
    }
    Ok(all)
}

fn event_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |e: std::io::Error| Error::file(folder, format!("cannot be listed: {e}"));
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed(e)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if is_event_file(&name) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a folder holds event files.
///
/// # Errors
/// If it cannot be listed.
pub fn are_in(folder: &Path) -> Result<bool> {
    event_files(folder).map(|files| !files.is_empty())
}

fn now() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_secs_f64()
}

/// A log in event files. Each process that writes to it has a file of its own, to which
/// TensorBoard, which may be looking at the one before, goes on by itself.
#[derive(Debug)]
pub struct EventLog {
    path: PathBuf,
    file: File,
}

impl EventLog {
    /// Opens the log of a folder after `step`, of which the last measurement that counts was at
    /// `measured`. Events past these go from the files that are there, so that no step is there
    /// twice. The first file holds `config`.
    ///
    /// # Errors
    /// If a file cannot be read or written.
    pub fn open(folder: &Path, step: u64, measured: u64, config: &str) -> Result<EventLog> {
        let before = event_files(folder)?;
        for path in &before {
            let bytes = files::read(path, files::MODEL)?;
            let counts = |data: &[u8]| {
                event(data).is_some_and(|e| e.step <= if e.is_row() { step } else { measured })
            };
            let kept = records(&bytes).into_iter().filter(|data| counts(data));
            let kept: Vec<u8> = kept.flat_map(record).collect();
            if kept != bytes {
                atomic::write(path, &kept)?;
            }
        }
        let last = before.last().and_then(|path| {
            let name = path.file_name()?.to_str()?;
            let number = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
            number.parse::<u64>().ok()
        });
        let number = (now() as u64).max(last.map_or(0, |last| last + 1));
        let path = folder.join(format!("{PREFIX}{number:010}{SUFFIX}"));
        let file = File::options().create_new(true).append(true).open(&path);
        let made = |e: std::io::Error| Error::file(&path, format!("cannot be made: {e}"));
        let file = file.map_err(made)?;
        // A file that is synced is not lost, but its name may be.
        file_system::sync_folder(folder).map_err(made)?;
        let mut log = EventLog { path, file };
        log.write(0, |event| event.text(3, "brain.Event:2"))?;
        // What TensorBoard has seen past this step, it forgets.
        log.write(step + 1, |event| {
            event.message(7, &Message::new().int(1, 1))
        })?;
        if before.is_empty() {
            log.text("config", 0, &format!("```toml\n{}\n```", config.trim_end()))?;
        }
        Ok(log)
    }

    fn write(&mut self, step: u64, fill: impl FnOnce(Message) -> Message) -> Result<()> {
        let event = Message::new().double(1, now()).int(2, step as i64);
        self.file
            .write_all(&record(&fill(event).into_bytes()))
            .map_err(|e| Error::file(&self.path, format!("cannot be written: {e}")))
    }

    fn value(&mut self, name: &str, step: u64, field: u32, value: &Message) -> Result<()> {
        let value = Message::new().text(1, name).message(field, value);
        let summary = Message::new().message(1, &value);
        self.write(step, |event| event.message(5, &summary))
    }

    /// Appends numbers by their names below `group`; of `row`, those that are numbers, and not the
    /// step.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn scalars(&mut self, group: &str, step: u64, row: &[(String, f64)]) -> Result<()> {
        let mut summary = Message::new();
        for (name, value) in row.iter().filter(|(n, v)| n != "step" && !v.is_nan()) {
            let value = Message::new()
                .text(1, &format!("{group}/{name}"))
                .float(2, *value as f32);
            summary = summary.message(1, &value);
        }
        self.write(step, |event| event.message(5, &summary))
    }

    /// Appends an image: a PNG file of this width and height, and of so many channels.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn image(&mut self, name: &str, step: u64, size: [usize; 3], png: &[u8]) -> Result<()> {
        let [width, height, channels] = size.map(|n| n as i64);
        let image = Message::new()
            .int(1, height)
            .int(2, width)
            .int(3, channels)
            .bytes(4, png);
        self.value(name, step, 4, &image)
    }

    /// Appends a histogram of how often each of some codes was used, by their numbers; of many
    /// codes, neighbours share a bar.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn histogram(&mut self, name: &str, step: u64, counts: &[u64]) -> Result<()> {
        let width = counts.len().div_ceil(BARS).max(1);
        let at = |i: usize| i as f64 + 0.5;
        let sum = |f: &dyn Fn(f64) -> f64| -> f64 {
            let parts = counts.iter().enumerate();
            parts.map(|(i, n)| f(at(i)) * *n as f64).sum()
        };
        let bars = counts.chunks(width);
        let limits = (1..=bars.len()).map(|i| (i * width).min(counts.len()) as f64);
        let histogram = Message::new()
            .double(1, 0.0)
            .double(2, counts.len() as f64)
            .double(3, counts.iter().sum::<u64>() as f64)
            .double(4, sum(&|x| x))
            .double(5, sum(&|x| x * x))
            .doubles(6, limits)
            .doubles(7, bars.map(|bar| bar.iter().sum::<u64>() as f64));
        self.value(name, step, 5, &histogram)
    }

    /// Appends text, as Markdown.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn text(&mut self, name: &str, step: u64, text: &str) -> Result<()> {
        let plugin = Message::new().text(1, "text");
        let shape = Message::new().message(2, &Message::new().int(1, 1));
        // DT_STRING, and the class of data that are tensors.
        let tensor = Message::new().int(1, 7).message(2, &shape).text(8, text);
        let metadata = Message::new().message(1, &plugin).int(4, 2);
        let value = Message::new()
            .text(1, name)
            .message(8, &tensor)
            .message(9, &metadata);
        let summary = Message::new().message(1, &value);
        self.write(step, |event| event.message(5, &summary))
    }

    /// Makes what was appended outlast a loss of power.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn sync(&self) -> Result<()> {
        file_system::sync(&self.file, &self.path)
            .map_err(|e| Error::file(&self.path, format!("cannot be written: {e}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(step: u64) -> Vec<(String, f64)> {
        let values = [("step", step as f64), ("loss", 0.5), ("lpips", f64::NAN)];
        values.map(|(name, value)| (name.to_owned(), value)).into()
    }

    fn steps(folder: &Path, group: &str) -> Vec<u64> {
        let of = |e: &Event| e.scalars.iter().any(|(n, _)| n.starts_with(group));
        let events = events(folder).unwrap();
        events.iter().filter(|e| of(e)).map(|e| e.step).collect()
    }

    #[test]
    fn checksums_are_those_of_the_standard() {
        // RFC 3720, appendix B.4.
        assert_eq!(crc32c(&[0; 32]), 0x8A91_36AA);
        assert_eq!(crc32c(&[0xff; 32]), 0x62A8_AB43);
        assert_eq!(crc32c(&(0..32).collect::<Vec<u8>>()), 0x46DD_794E);
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
    }

    #[test]
    fn a_log_that_goes_on_holds_no_step_twice() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path();
        let mut log = EventLog::open(place, 0, 0, "a = 1").unwrap();
        for step in 1..=6 {
            log.scalars(TRAIN, step, &row(step)).unwrap();
        }
        for step in [3, 6] {
            log.scalars(TEST, step, &row(step)).unwrap();
            log.histogram("codes/use", step, &[1, 0, 5]).unwrap();
            log.image("images", step, [2, 1, 3], b"png").unwrap();
        }
        drop(log);
        // A process that was killed in the middle of a record.
        let first = event_files(place).unwrap().remove(0);
        let whole = std::fs::read(&first).unwrap();
        std::fs::write(&first, [&whole[..], &whole[..20]].concat()).unwrap();
        assert_eq!(steps(place, TRAIN), [1, 2, 3, 4, 5, 6]);
        let mut log = EventLog::open(place, 4, 4, "a = 1").unwrap();
        for step in 5..=6 {
            log.scalars(TRAIN, step, &row(step)).unwrap();
        }
        log.scalars(TEST, 6, &row(6)).unwrap();
        assert_eq!(steps(place, TRAIN), [1, 2, 3, 4, 5, 6]);
        assert_eq!(steps(place, TEST), [3, 6]);
        // A run that had ended measures once more.
        let mut log = EventLog::open(place, 6, 5, "a = 1").unwrap();
        log.scalars(TEST, 6, &row(6)).unwrap();
        assert_eq!(steps(place, TRAIN), [1, 2, 3, 4, 5, 6]);
        assert_eq!(steps(place, TEST), [3, 6]);
        assert_eq!(event_files(place).unwrap().len(), 3);
        let all = events(place).unwrap();
        let names: Vec<&String> = all.iter().flat_map(|e| &e.others).collect();
        assert_eq!(names, ["config", "codes/use", "images"]);
        let numbers = all.iter().flat_map(|e| &e.scalars);
        assert!(numbers.clone().count() > 0);
        for (name, value) in numbers {
            assert!(name.ends_with("/loss") && *value == 0.5, "{name} {value}");
        }
    }

    #[test]
    fn damage_ends_a_file_and_hides_nothing_before_it() {
        let one = record(b"one");
        for at in 0..one.len() {
            let mut bytes = [record(b"zero"), one.clone(), record(b"two")].concat();
            bytes[record(b"zero").len() + at] ^= 1;
            assert_eq!(records(&bytes), [b"zero"], "byte {at}");
        }
    }

    #[test]
    fn names_of_event_files_are_told_from_others() {
        assert!(is_event_file("events.out.tfevents.1790000000.wgvq"));
        for other in [
            "events.out.tfevents.1790000000.host.1.0",
            "events.out.tfevents..wgvq",
            "metrics.csv",
        ] {
            assert!(!is_event_file(other), "{other}");
        }
    }
}
