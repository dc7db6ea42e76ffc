//! The tests of the tests: faults planted in the kernels of an operation, of which the checks of
//! that operation have to find nearly all.
//!
//! A fault may let a kernel run for ever or leave its memory, so that operations are tried in a
//! process of their own, which says what it begins with and how it ended. `WGVQ_PLANTED=COUNT,SEED`
//! tries as many faults in all operations together, or in those named by further words
//! (`300,1,softmax,matmul`), and prints a table and what was not found.

use crate::faults::{Fault, faults};
use crate::places::{self, Place, engine};
use crate::{can_go_without_robust_access, gpu};
use libtest_mimic::Failed;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;
use wgvq::gpu::{Kernel, Options, RobustAccess, Source};
use wgvq::registry::operations;
use wgvq::spec::{Case, Operation, Rng};
use wgvq::verify;

/// By which a process is told to try one operation: its name, how many, and the seed.
const TRY: &str = "WGVQ_PLANTED_TRY";
/// From which of the faults it is to begin, where an earlier process came so far.
const FROM: &str = "WGVQ_PLANTED_FROM";
/// A fault without an answer for so long hangs.
const HANGS: Duration = Duration::from_secs(240);
/// Cases whose reference costs more are passed over, unless there are no others.
const FLOPS: f64 = 3e6;
/// Cases of a place, at most.
const CASES: usize = 12;

/// A file of `shaders/` with a fault in it.
struct Planted {
    file: String,
    fault: Fault,
}

/// Places of an operation, each with cases and the kernels that they dispatch.
struct Ground {
    place: Place,
    cases: Vec<(Case, BTreeSet<String>)>,
}

fn shaders() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders"))
}

fn read(file: &str) -> String {
    let path = shaders().join(format!("{file}.wgsl"));
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Adds a file and those that it imports.
fn with_imports(file: &str, found: &mut BTreeSet<String>) {
    if found.insert(file.to_owned()) {
        for line in read(file).lines() {
            if let Some(name) = line.trim().strip_prefix("#import ") {
                with_imports(name.trim(), found);
            }
        }
    }
}

fn options(place: Place) -> Options {
    let mut options = place.options();
    if can_go_without_robust_access(&gpu(Options::default())) {
        options.robust_access = RobustAccess::Off;
    }
    options
}

/// Returns where an operation is tried, by the cases that a suite runs there; those that compile
/// for long are left to it.
fn grounds(op: &dyn Operation) -> Vec<Ground> {
    let all = op.cases();
    let mut grounds = Vec::new();
    for place in places::places(op) {
        let emulated = matches!(place, Place::Emulated { .. });
        let long = |case: &Case| {
            places::left_out(op, place, case)
                || places::compiles_for_long(op, place, case).is_some()
        };
        if emulated && op.name() != "matmul" {
            continue;
        }
        let mut indices = places::chosen(op, place, &all);
        indices.retain(|i| !long(&all[*i]));
        indices.sort_by(|a, b| {
            let cost = |i: &usize| op.work(&all[*i]).flops;
            cost(a).total_cmp(&cost(b))
        });
        let cheap = indices.iter().filter(|i| op.work(&all[**i]).flops <= FLOPS);
        let keep = cheap.count().clamp(1, indices.len().max(1));
        indices.truncate(keep);
        // Spread over those that there are.
        let step = indices.len().div_ceil(CASES).max(1);
        let gpu = engine(place, options(place));
        if matches!(place, Place::Core(core) if gpu.core() != core) {
            continue;
        }
        let mut cases = Vec::new();
        for i in indices.into_iter().step_by(step) {
            // An engine of its own says what the case dispatches.
            let own = engine(place, options(place));
            let opening: BTreeSet<String> = own.kernels_in_use().into_iter().collect();
            if verify::run(&own, op, &all[i], 1000 + i as u64).is_ok() {
                let mut used: BTreeSet<String> = own.kernels_in_use().into_iter().collect();
                used.retain(|label| !opening.contains(label));
                cases.push((all[i].clone(), used));
            }
        }
        grounds.push(Ground { place, cases });
    }
    grounds
}

/// Which kernels a fault changes; none where one of them is no kernel any more.
fn changed(
    kernels: &BTreeMap<String, Kernel>,
    used: &BTreeSet<String>,
    planted: &'static Source,
    immediates: bool,
) -> Option<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for label in used {
        let kernel = kernels.get(label)?;
        let (right, ..) = kernel.parse(immediates).ok()?;
        let (wrong, module, _) = kernel.parse_with(immediates, Some(planted)).ok()?;
        if right != wrong {
            let flags = naga::valid::ValidationFlags::all();
            naga::valid::Validator::new(flags, naga::valid::Capabilities::all())
                .validate(&module)
                .ok()?;
            found.insert(label.clone());
        }
    }
    Some(found)
}

/// Returns the judgement of an operation's checks on a fault: the check that found it, or nothing.
fn judged(
    op: &dyn Operation,
    grounds: &[Ground],
    changed: &BTreeSet<String>,
    planted: &'static Source,
) -> Option<String> {
    for ground in grounds {
        let of = |used: &BTreeSet<String>| !used.is_disjoint(changed);
        let mut cases = ground.cases.iter().filter(|(_, used)| of(used)).peekable();
        if cases.peek().is_none() {
            continue;
        }
        let options = Options {
            planted: Some(planted),
            ..options(ground.place)
        };
        let gpu = engine(ground.place, options);
        for (i, (case, _)) in cases.enumerate() {
            match verify::guarded(&gpu, || None, op, case, 77 + i as u64) {
                Err(e) => return Some(format!("{case}: {e}")),
                Ok(verdicts) => {
                    if let Some(red) = verdicts.iter().find(|v| !v.pass || v.compared == 0) {
                        return Some(red.detail.clone());
                    }
                }
            }
        }
    }
    None
}

/// Returns the judgement of other operations' checks on a fault in a file that they share, which
/// changes nothing of this one's results: the name of one that finds it.
fn judged_elsewhere(
    op: &dyn Operation,
    kernels: &BTreeMap<String, Kernel>,
    file: &str,
    planted: &'static Source,
    grounds_of: &mut BTreeMap<&'static str, Vec<Ground>>,
) -> Option<(&'static str, String)> {
    for other in operations().iter().filter(|o| o.name() != op.name()) {
        let mut files = BTreeSet::new();
        for kernel in other.kernels() {
            with_imports(kernel.source().name, &mut files);
        }
        if !files.contains(file) {
            continue;
        }
        let grounds = grounds_of
            .entry(other.name())
            .or_insert_with(|| grounds(*other));
        let cases = grounds.iter().flat_map(|ground| &ground.cases);
        let used: BTreeSet<String> = cases.flat_map(|(_, used)| used.clone()).collect();
        let found = changed(kernels, &used, planted, true)
            .filter(|changed| !changed.is_empty())
            .and_then(|changed| judged(*other, grounds, &changed, planted));
        if let Some(by) = found {
            return Some((other.name(), by));
        }
    }
    None
}

/// One line, whatever it was before.
fn line(text: &str) -> String {
    text.replace('\n', " ").chars().take(300).collect()
}

/// Says something to the process that started this one.
fn say(words: &[&str]) {
    let mut out = std::io::stdout();
    let told = writeln!(out, "planted\t{}", words.join("\t"));
    told.and_then(|()| out.flush()).expect("somebody listens");
}

/// Tries the operation that `WGVQ_PLANTED_TRY` names, and returns whether it names one.
pub fn tried() -> bool {
    let Ok(asked) = std::env::var(TRY) else {
        return false;
    };
    let mut words = asked.split(',');
    let mut word = || words.next().expect("a name, a count and a seed");
    let (name, count, seed) = (word(), word(), word());
    let from = std::env::var(FROM).unwrap_or_default();
    try_operation(
        name,
        count.parse().expect("a count"),
        seed.parse().expect("a seed"),
        from.parse().unwrap_or(0),
    );
    true
}

fn try_operation(name: &str, count: usize, seed: u64, from: usize) {
    let op = *operations()
        .iter()
        .find(|op| op.name() == name)
        .expect("an operation");
    let all = operations().iter().flat_map(|op| op.kernels());
    let kernels: BTreeMap<String, Kernel> = all.map(|k| (k.label(), k)).collect();
    let grounds = grounds(op);
    let cases = grounds.iter().flat_map(|ground| &ground.cases);
    let used: BTreeSet<String> = cases.flat_map(|(_, used)| used.clone()).collect();
    let mut files = BTreeSet::new();
    for label in &used {
        let kernel = kernels
            .get(label)
            .unwrap_or_else(|| panic!("{label} is not declared"));
        with_imports(kernel.source().name, &mut files);
    }
    let mut by_kind: BTreeMap<&str, Vec<Planted>> = BTreeMap::new();
    for file in &files {
        for fault in faults(&read(file)) {
            let planted = Planted {
                file: file.clone(),
                fault,
            };
            by_kind.entry(planted.fault.kind).or_default().push(planted);
        }
    }
    let sites: usize = by_kind.values().map(Vec::len).sum();
    say(&["sites", &sites.to_string()]);
    // Kinds take turns, so that rare ones are tried too.
    let mut rng = Rng::new(seed);
    let (mut number, mut tried, mut elsewhere) = (0, 0, BTreeMap::new());
    while tried < count && !by_kind.is_empty() {
        let kinds: Vec<&str> = by_kind.keys().copied().collect();
        let kind = kinds[number % kinds.len()];
        let of_kind = by_kind.get_mut(kind).expect("a kind");
        let at = rng.below(of_kind.len());
        let planted = of_kind.swap_remove(at);
        if of_kind.is_empty() {
            by_kind.remove(kind);
        }
        number += 1;
        let text = planted.fault.plant(&read(&planted.file));
        let source: &'static Source = Box::leak(Box::new(Source {
            name: planted.file.clone().leak(),
            text: text.leak(),
        }));
        let Some(changed) = changed(&kernels, &used, source, true).filter(|c| !c.is_empty()) else {
            continue;
        };
        tried += 1;
        if number <= from {
            continue;
        }
        let place = format!("{}:{}", planted.file, planted.fault.line + 1);
        let (was, is) = (planted.fault.from.trim(), planted.fault.to.trim());
        say(&[
            "try",
            &number.to_string(),
            planted.fault.kind,
            &place,
            was,
            is,
        ]);
        match judged(op, &grounds, &changed, source) {
            Some(by) => say(&["found", &line(&by)]),
            None => match judged_elsewhere(op, &kernels, &planted.file, source, &mut elsewhere) {
                Some((other, by)) => say(&["elsewhere", other, &line(&by)]),
                None => say(&["missed"]),
            },
        }
    }
    say(&["end"]);
}

/// The fate of a fault.
#[derive(Debug)]
struct Tried {
    kind: String,
    what: String,
    found: Option<String>,
    /// Whether it was another operation's checks that found it.
    elsewhere: bool,
}

/// Tries `count` faults of an operation in processes of their own.
fn faults_of(name: &str, count: usize, seed: u64) -> Result<(usize, Vec<Tried>), Failed> {
    let (mut all, mut sites, mut from) = (Vec::<Tried>::new(), 0, 0);
    loop {
        let mut child = Command::new(std::env::current_exe()?)
            .env(TRY, format!("{name},{count},{seed}"))
            .env(FROM, from.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let (send, lines) = channel();
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(out.expect("a pipe")).lines() {
                if line.is_err() || send.send(line.unwrap_or_default()).is_err() {
                    break;
                }
            }
        });
        let errors = std::thread::spawn(move || {
            std::io::read_to_string(err.expect("a pipe")).unwrap_or_default()
        });
        let mut open = false;
        let ended = loop {
            let line = match lines.recv_timeout(HANGS) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => break "it hangs",
                Err(RecvTimeoutError::Disconnected) => break "the process ends",
            };
            let words: Vec<&str> = line.split('\t').collect();
            match words[..] {
                ["planted", "sites", n] => sites = n.parse()?,
                ["planted", "try", number, kind, place, was, is] => {
                    from = number.parse()?;
                    open = true;
                    all.push(Tried {
                        kind: kind.into(),
                        what: format!("{place}: {kind}: `{was}` as `{is}`"),
                        found: None,
                        elsewhere: false,
                    });
                }
                ["planted", "found", by] => {
                    open = false;
                    if let Some(last) = all.last_mut() {
                        last.found = Some(by.into());
                    }
                }
                ["planted", "elsewhere", by, why] => {
                    open = false;
                    if let Some(last) = all.last_mut() {
                        last.found = Some(format!("by {by}: {why}"));
                        last.elsewhere = true;
                    }
                }
                ["planted", "missed"] => open = false,
                ["planted", "end"] => break "",
                _ => {}
            }
        };
        child.kill().ok();
        child.wait()?;
        reader.join().ok();
        let errors = errors.join().unwrap_or_default();
        match (ended, open) {
            ("", _) => return Ok((sites, all)),
            (_, false) => return Err(format!("{name}: {ended}: {errors}").into()),
            // Found, by what a suite would show: a test that dies or never ends.
            (how, true) => all.last_mut().expect("one").found = Some(how.into()),
        }
    }
}

/// A table of what was found, and what was not.
fn table(rows: &[(String, usize, Vec<Tried>)]) -> (usize, usize, String) {
    let (mut text, mut missed) = (String::new(), String::new());
    text += "| operation | places for faults | tried | found | by another operation's checks |\n";
    text += "| --- | --- | --- | --- | --- |\n";
    let mut kinds: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
    let mut sum = [0; 2];
    for (name, sites, tried) in rows {
        let found = tried.iter().filter(|t| t.found.is_some()).count();
        let elsewhere = tried.iter().filter(|t| t.elsewhere).count();
        let all = tried.len();
        text += &format!("| {name} | {sites} | {all} | {found} | {elsewhere} |\n");
        for t in tried {
            let counts = [1, usize::from(t.found.is_some())];
            let kind = kinds.entry(&t.kind).or_default();
            for (i, n) in counts.iter().enumerate() {
                kind[i] += n;
                sum[i] += n;
            }
            if t.found.is_none() {
                missed += &format!("{name}: {}\n", t.what);
            }
        }
    }
    text += "\n| kind | tried | found |\n| --- | --- | --- |\n";
    for (kind, [tried, found]) in kinds {
        text += &format!("| {kind} | {tried} | {found} |\n");
    }
    (sum[0], sum[1], format!("{text}\nnot found:\n{missed}"))
}

/// Faults in all operations, as many as `WGVQ_PLANTED` says.
pub fn all() -> Result<(), Failed> {
    let asked = std::env::var("WGVQ_PLANTED").unwrap_or_else(|_| "1000,1".into());
    let mut words = asked.split(',');
    let (count, seed) = (words.next().unwrap_or("1000"), words.next().unwrap_or("1"));
    let (count, seed): (usize, u64) = (count.parse()?, seed.parse()?);
    let named: Vec<&str> = words.collect();
    let names = operations().iter().map(|op| op.name());
    let chosen: Vec<&str> = names
        .filter(|name| named.is_empty() || named.contains(name))
        .collect();
    let each = count.div_ceil(chosen.len().max(1));
    let mut rows = Vec::new();
    for name in chosen {
        let (sites, tried) = faults_of(name, each, seed)?;
        let found = tried.iter().filter(|t| t.found.is_some()).count();
        eprintln!("{name}: {found} of {} found", tried.len());
        for t in &tried {
            eprintln!(
                "  {} -> {}",
                t.what,
                t.found.as_deref().unwrap_or("NOT FOUND")
            );
        }
        rows.push((name.to_owned(), sites, tried));
    }
    let (tried, found, table) = table(&rows);
    println!("{table}\n{found} of {tried} found, seed {seed}");
    eprintln!("{table}\n{found} of {tried} found, seed {seed}");
    if tried == 0 || 100 * found < 95 * tried {
        return Err(format!("{found} of {tried} found").into());
    }
    Ok(())
}

/// A few faults in an operation that takes little time.
pub fn some() -> Result<(), Failed> {
    let name = "fsq";
    let (sites, tried) = faults_of(name, 6, 1)?;
    let (tried, found, table) = table(&[(name.to_owned(), sites, tried)]);
    println!("{table}");
    if tried < 6 || 10 * found < 9 * tried {
        return Err(format!("{found} of {tried} found:\n{table}").into());
    }
    Ok(())
}
