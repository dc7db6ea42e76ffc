//! Other libraries beside ours: a program of theirs gets a case with its inputs, and answers with
//! what it computed and how long that took.
//!
//! The protocol is a line of JSON each way, over the program's standard input and output, and
//! tensors in files of a folder: raw, little-endian, row by row. `docs/benchmarking.md` has it in
//! full.

use crate::spec::{Case, Data, HostTensor, Operation, Verdict};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// The version of the protocol.
pub const PROTOCOL: u32 = 1;
/// The time that an answer may take, beyond the time that was asked for: libraries compile at
/// first.
const PATIENCE: Duration = Duration::from_secs(300);
/// The time that a peer that closed its output may take to end.
const ENDING: Duration = Duration::from_secs(1);

/// A case for a peer, with its inputs.
pub struct Problem {
    /// The case that is asked for: an operation's name, or `quantizer_ema` for a whole forward
    /// pass.
    pub asked: String,
    /// The operation whose reference judges the answer.
    pub op: &'static dyn Operation,
    /// Its case.
    pub case: Case,
    /// The inputs.
    pub inputs: Vec<HostTensor>,
    /// The shapes of the outputs.
    pub shapes: Vec<Vec<usize>>,
    /// With the gradient: that of the output, and the inputs whose gradients are the answer.
    pub gradient: Option<(HostTensor, Vec<usize>)>,
}

/// A tensor in a file of a case's folder.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct File {
    file: String,
    dtype: String,
    shape: Vec<usize>,
}

/// Another library's program, running.
pub struct Peer {
    /// The name that it gives itself.
    pub name: String,
    /// Whether its products round operands to at most eleven bits, as TF32 and f16 do.
    pub rounds: bool,
    command: String,
    child: Child,
    input: ChildStdin,
    /// Its lines, which a thread reads, so that one that never comes is not waited for.
    lines: Receiver<std::io::Result<String>>,
    patience: Duration,
    /// Why it is asked nothing more: after an answer that was none, nobody knows which question the
    /// next line answers.
    broken: Option<String>,
}

/// An answer, or why there is none.
pub type Answer<T> = std::result::Result<T, String>;

impl Peer {
    /// Starts a command, as a shell reads it. A peer that is not installed is the inner error.
    ///
    /// # Errors
    /// If no shell can be started.
    pub fn start(command: &str) -> Result<Answer<Peer>> {
        Peer::start_with(command, PATIENCE)
    }

    fn start_with(command: &str, patience: Duration) -> Result<Answer<Peer>> {
        let (shell, flag) = match cfg!(windows) {
            true => ("cmd", "/C"),
            false => ("sh", "-c"),
        };
        let mut child = Command::new(shell)
            .args([flag, command])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| Error::data(format!("`{command}` cannot be run: {e}")))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Error::data(format!("`{command}` has no pipes")));
        };
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            // It ends where the peer's output does, or where nobody reads its lines any more.
            for line in BufReader::new(output).lines() {
                let last = line.is_err();
                if sender.send(line).is_err() || last {
                    return;
                }
            }
        });
        let mut peer = Peer {
            name: command.to_owned(),
            rounds: false,
            command: command.to_owned(),
            child,
            input,
            lines,
            patience,
            broken: None,
        };
        Ok(peer
            .ask(&json!({ "wgvq_peer": PROTOCOL }), Duration::ZERO)
            .and_then(|hello| {
                let name = hello.get("peer").and_then(Value::as_str);
                let name = name.ok_or("its first line has no `peer`")?;
                name.clone_into(&mut peer.name);
                peer.rounds = match hello.get("operands").and_then(Value::as_str) {
                    None | Some("f32") => false,
                    Some("tf32" | "f16") => true,
                    Some(other) => return Err(format!("operands in `{other}`: f32, tf32 or f16")),
                };
                Ok(peer)
            }))
    }

    /// Lets each answer take so long, instead of 300 s.
    pub fn with_patience(mut self, patience: Duration) -> Peer {
        self.patience = patience;
        self
    }

    /// The command that started it.
    pub fn command(&self) -> &str {
        &self.command
    }

    /// Sends a line and reads one, which may take `time` beyond the patience. What the peer refuses
    /// or lacks is an error in its words.
    fn ask(&mut self, question: &Value, time: Duration) -> Answer<Value> {
        if let Some(why) = &self.broken {
            return Err(why.clone());
        }
        let answer = match self.answer(question, self.patience + time) {
            Ok(answer) => answer,
            Err(why) => return Err(self.broke(why)),
        };
        for refusal in ["missing", "refused"] {
            if let Some(why) = answer.get(refusal) {
                let why = why.as_str().map_or_else(|| why.to_string(), str::to_owned);
                return Err(format!("{refusal}: {why}"));
            }
        }
        Ok(answer)
    }

    /// Sends a line and reads one. An error is one of the protocol.
    fn answer(&mut self, question: &Value, patience: Duration) -> Answer<Value> {
        if let Ok(Ok(line)) = self.lines.try_recv() {
            return Err(format!("it said `{}` without being asked", line.trim_end()));
        }
        let gone = |e: std::io::Error| format!("it ended: {e}");
        writeln!(self.input, "{question}").map_err(gone)?;
        self.input.flush().map_err(gone)?;
        let line = match self.lines.recv_timeout(patience) {
            Ok(line) => line.map_err(|e| format!("its output cannot be read: {e}"))?,
            Err(RecvTimeoutError::Timeout) => {
                return Err(format!("it did not answer within {patience:.0?}"));
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(format!("it ended without an answer ({})", self.ended()));
            }
        };
        match serde_json::from_str(&line) {
            Ok(Value::Object(fields)) => Ok(Value::Object(fields)),
            Ok(_) => Err(format!("`{line}` is no answer: no object of JSON")),
            Err(e) => Err(format!("`{line}` is no answer: {e}")),
        }
    }

    /// Ends the peer, and remembers why.
    fn broke(&mut self, why: String) -> String {
        let _ = self.child.kill();
        self.broken = Some(why.clone());
        why
    }

    /// Says how a peer ended that closed its output.
    fn ended(&mut self) -> String {
        let steps = 20;
        for _ in 0..steps {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status.to_string();
            }
            std::thread::sleep(ENDING / steps);
        }
        "it closed its output, and went on".into()
    }

    /// Gives it a case, whose files go to `folder`, and returns what it computed.
    ///
    /// # Errors
    /// If the folder cannot be written. A case that the peer refuses is the inner error.
    pub fn solve(&mut self, problem: &Problem, folder: &Path) -> Result<Answer<Vec<HostTensor>>> {
        let mut files = Vec::new();
        let upstream = problem.gradient.as_ref().map(|(upstream, _)| upstream);
        for (i, tensor) in problem.inputs.iter().chain(upstream).enumerate() {
            files.push(write(folder, &format!("in{i}.bin"), tensor)?);
        }
        let sizes: serde_json::Map<String, Value> = problem
            .case
            .sizes()
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect();
        let upstream = upstream.and_then(|_| files.pop());
        let wrt = problem.gradient.as_ref().map(|(_, wrt)| wrt);
        let case = json!({
            "op": problem.asked, "sizes": sizes, "folder": folder.to_string_lossy(),
            "inputs": files, "upstream": upstream, "wrt": wrt,
        });
        let answer = self.ask(&json!({ "case": case }), Duration::ZERO);
        Ok(answer.and_then(|answer| {
            let files = answer.get("outputs").cloned().unwrap_or_default();
            let files = serde_json::from_value::<Vec<File>>(files);
            let files = files.map_err(|e| self.broke(format!("its outputs: {e}")))?;
            files.iter().map(|file| read(folder, file)).collect()
        }))
    }

    /// Lets it repeat the case for that long, and returns the times in milliseconds.
    pub fn time(&mut self, time: Duration, least: usize) -> Answer<Vec<f64>> {
        let seconds = time.as_secs_f64();
        let question = json!({ "time": { "seconds": seconds, "least": least } });
        let answer = self.ask(&question, time)?;
        let samples = answer.get("samples_ms").cloned().unwrap_or_default();
        let samples = serde_json::from_value::<Vec<f64>>(samples);
        let samples = samples.map_err(|e| self.broke(format!("its times: {e}")))?;
        match samples.iter().all(|ms| ms.is_finite() && *ms > 0.0) && !samples.is_empty() {
            true => Ok(samples),
            false => Err("times that are none".into()),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It ends by itself where its input does; one that does not is in nobody's way for long.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write(folder: &Path, name: &str, tensor: &HostTensor) -> Result<File> {
    let (dtype, bytes): (&str, Vec<u8>) = match &tensor.data {
        Data::F32(v) => ("f32", v.iter().flat_map(|x| x.to_le_bytes()).collect()),
        Data::F64(v) => (
            "f32",
            v.iter().flat_map(|x| (*x as f32).to_le_bytes()).collect(),
        ),
        Data::U32(v) => ("u32", v.iter().flat_map(|x| x.to_le_bytes()).collect()),
        Data::U8(v) => ("u8", v.clone()),
    };
    let path = folder.join(name);
    std::fs::write(&path, bytes).map_err(|e| Error::file(&path, e.to_string()))?;
    Ok(File {
        file: name.to_owned(),
        dtype: dtype.to_owned(),
        shape: tensor.shape.clone(),
    })
}

fn read(folder: &Path, file: &File) -> Answer<HostTensor> {
    let said = |e: std::io::Error| format!("its file {}: {e}", file.file);
    let path = folder.join(&file.file);
    let size = match file.dtype.as_str() {
        "f32" | "u32" => 4,
        "u8" => 1,
        other => return Err(format!("its type `{other}`: f32, u32 or u8")),
    };
    let sizes = file
        .shape
        .iter()
        .try_fold(size, |n: usize, m| n.checked_mul(*m));
    let there = std::fs::metadata(&path).map_err(said)?.len();
    if sizes.map(|n| n as u64) != Some(there) {
        return Err(format!(
            "its file {} has {there} bytes, and its shape {:?} others",
            file.file, file.shape
        ));
    }
    let bytes = std::fs::read(&path).map_err(said)?;
    let words = || bytes.chunks_exact(4).map(|b| [b[0], b[1], b[2], b[3]]);
    let data = match file.dtype.as_str() {
        "f32" => Data::F32(words().map(f32::from_le_bytes).collect()),
        "u32" => Data::U32(words().map(u32::from_le_bytes).collect()),
        _ => Data::U8(bytes),
    };
    Ok(HostTensor {
        shape: file.shape.clone(),
        data,
    })
}

/// The result of a peer for a workload, in the row of ours.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerRow {
    /// The name that it gives itself.
    pub peer: String,
    /// Its command.
    pub command: String,
    /// Whether it agreed with f64; `None` where it computed nothing.
    pub pass: Option<bool>,
    /// Its median wall time in milliseconds.
    pub ms: Option<f64>,
    /// Ours, in the turns between.
    pub ours_ms: Option<f64>,
    /// Its time over ours: above 1 we are faster.
    pub ratio: Option<f64>,
    /// The ratio's interval at 95 %.
    pub interval: Option<[f64; 2]>,
    /// The median of each of its turns.
    #[serde(default)]
    pub samples: Vec<f64>,
    /// The median of each of ours.
    #[serde(default)]
    pub ours_samples: Vec<f64>,
    /// Its largest error against f64.
    pub max_err: Option<f64>,
    /// Why it has no time, where it has none; else the worst element.
    pub detail: String,
}

impl PeerRow {
    /// A row without a time.
    pub(super) fn without(peer: &Peer, verdict: Option<&Verdict>, detail: String) -> PeerRow {
        PeerRow {
            peer: peer.name.clone(),
            command: peer.command.clone(),
            pass: verdict.map(|v| v.pass),
            ms: None,
            ours_ms: None,
            ratio: None,
            interval: None,
            samples: Vec::new(),
            ours_samples: Vec::new(),
            max_err: verdict.map(|v| v.max_error).filter(|e| e.is_finite()),
            detail,
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn peer(script: &str, patience: Duration) -> Answer<Peer> {
        Peer::start_with(script, patience).unwrap()
    }

    fn hello(rest: &str) -> String {
        format!("read -r line; echo '{{\"peer\":\"a\"}}'; {rest}")
    }

    /// Asks twice for times; the second has to be refused as the first was.
    fn refused(script: &str, patience: Duration) -> String {
        let mut peer = peer(&hello(script), patience).unwrap();
        let why = peer.time(Duration::ZERO, 1).unwrap_err();
        assert_eq!(peer.time(Duration::ZERO, 1).unwrap_err(), why);
        why
    }

    #[test]
    fn a_peer_that_says_what_was_not_asked_is_asked_no_more() {
        // As libraries do where they are loaded.
        let banner = format!("echo Welcome; {}", hello("cat >/dev/null"));
        let why = peer(&banner, 60 * SECOND).err().unwrap();
        assert!(why.contains("Welcome"), "{why}");
        // Before an answer: that would be the next question's.
        let answer = "echo '{\"samples_ms\":[1.0]}'";
        let why = refused(
            &format!("read -r line; echo 3; {answer}; read -r line; {answer}"),
            60 * SECOND,
        );
        assert!(why.contains("`3` is no answer"), "{why}");
        let why = refused("read -r line; echo '{}'; cat >/dev/null", 60 * SECOND);
        assert!(why.contains("its times"), "{why}");
    }

    #[test]
    fn a_peer_that_closes_or_never_answers_is_not_waited_for() {
        let why = refused("exit 3", 60 * SECOND);
        assert!(why.starts_with("it ended"), "{why}");
        let why = refused("exec >&-; exec sleep 60", 60 * SECOND);
        assert!(why.contains("closed its output"), "{why}");
        let why = refused("exec sleep 60", SECOND / 5);
        assert!(why.contains("did not answer"), "{why}");
        // What it cannot do is no end.
        let refusal = "while read -r line; do echo '{\"refused\":\"too large\"}'; done";
        let why = refused(refusal, 60 * SECOND);
        assert_eq!(why, "refused: too large");
    }
}
