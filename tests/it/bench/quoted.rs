//! The properties of a figure that others can quote: cold and warm apart, samples and environment
//! in the file, processes, verdicts, peers, and the page.

use crate::common::{run, stderr, stdout, wgvq};
use std::path::{Path, PathBuf};
use wgvq::bench::{Cache, Results, Row};

const QUICK: [&str; 4] = ["--seconds", "0", "--any-clock", "--json"];

/// Runs `wgvq bench`, quickly, and reads what it wrote.
fn results(args: &[&str]) -> Results {
    let out = run(&[&["bench"], args, &QUICK].concat());
    assert!(out.status.success(), "{}", stderr(&out));
    Results::parse(&stdout(&out)).unwrap()
}

#[test]
fn cold_and_warm_are_rows_of_their_own_with_every_sample() {
    let names = ["scale_n65536", "launch_d10"];
    let cold = ["--cache", "warm,cold", "--last-level-cache", "1"];
    let results = results(&[&names[..], &cold].concat());
    let rows: Vec<&Row> = results.runs[0].rows.iter().collect();
    assert_eq!(rows.len(), 4);
    for (i, row) in rows.iter().enumerate() {
        assert!(row.pass && row.name == names[i / 2]);
        assert_eq!(row.cache, [Cache::Warm, Cache::Cold][i % 2]);
        let ms = row.ms.unwrap();
        assert!(row.samples.len() >= 7 && row.samples.iter().any(|s| *s <= ms));
        assert!(row.stopped.is_some() && row.spread.is_some_and(|s| s >= 0.0));
        assert_eq!(row.first_ms.is_some(), row.cache == Cache::Warm);
    }
    // 2 MiB in sets of 256 KiB; a number is too small for that.
    let by = |i: usize| rows[i].cold_by.clone().unwrap_or_default();
    assert_eq!(by(1), "10 sets of inputs in turn");
    assert_eq!(by(3), "a copy of 2 MiB before each call");
    assert_eq!((by(0), by(2)), (String::new(), String::new()));
    assert_eq!((rows[2].dispatches, rows[2].bound.as_str()), (10, "launch"));

    let header = results.header();
    assert!(header.peak_launch_us > 0.0);
    let environment = header.environment.clone().unwrap();
    assert!(environment.wgpu.starts_with("30.") && environment.naga.starts_with("30."));
    assert!(["debug", "release"].contains(&environment.profile.as_str()));
    assert_eq!(environment.commit.is_some(), environment.dirty.is_some());
    assert!(environment.limits["buffer"] > 0 && environment.tuning.len() == 16);
    assert!(environment.date.starts_with("20") && environment.date.ends_with('Z'));
    assert_eq!(environment.command[..3], ["wgvq", "bench", "scale_n65536"]);
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("warm.jsonl");
    let mut before = results(&["scale_n999"]);
    std::fs::write(&file, before.text().unwrap()).unwrap();
    let compare = |more: &[&str]| {
        let path = file.to_str().unwrap();
        let args = [&["bench", "scale_n999", "--compare", path], more, &QUICK];
        run(&args.concat())
    };
    // One process on each side: a ratio, and no verdict.
    let out = compare(&[]);
    assert!(out.status.success(), "{}", stderr(&out));
    let cold = compare(&["--cache", "cold"]);
    assert_eq!(cold.status.code(), Some(1));
    assert!(stderr(&cold).contains("cold inputs"), "{}", stderr(&cold));
    before.runs[0].header.driver = "another".into();
    std::fs::write(&file, before.text().unwrap()).unwrap();
    let other = compare(&[]);
    assert_eq!(other.status.code(), Some(1));
    assert!(stderr(&other).contains("driver"), "{}", stderr(&other));
}

#[test]
fn processes_take_turns_and_a_planted_slowdown_fails() {
    let folder = tempfile::tempdir().unwrap();
    // What it was before, by this file: a hundredth, in four processes.
    let mut planted = results(&["launch_d10"]);
    for row in planted.runs.iter_mut().flat_map(|run| &mut run.rows) {
        row.ms = row.ms.map(|ms| ms / 100.0);
    }
    planted.runs = vec![planted.runs.swap_remove(0); 4];
    let file = folder.path().join("before.jsonl");
    std::fs::write(&file, planted.text().unwrap()).unwrap();
    let gate = ["--processes", "4", "--fail-above", "5%", "--floor", "0us"];
    let compare = ["bench", "launch_d10", "--compare", file.to_str().unwrap()];
    let out = run(&[&compare[..], &gate, &["--seconds", "0", "--any-clock"]].concat());
    let (text, said) = (stdout(&out), stderr(&out));
    assert_eq!(out.status.code(), Some(1), "{text}\n{said}");
    assert!(text.contains("SLOWER") && text.contains("within"), "{text}");
    assert!(said.contains("once more, to be sure: launch_d10"), "{said}");
}

#[test]
fn another_build_takes_turns() {
    let this = env!("CARGO_BIN_EXE_wgvq");
    let args = ["bench", "launch_d1", "--against", this, "--processes", "2"];
    let out = run(&[&args[..], &QUICK].concat());
    assert!(out.status.success(), "{}", stderr(&out));
    let text = stdout(&out);
    let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    // Two pairs allow no interval, and so no verdict.
    assert_eq!(last["verdict"], "UNSURE");
    for side in ["new_ms", "old_ms"] {
        assert_eq!(last[side].as_array().unwrap().len(), 2, "{text}");
    }
    let turns: Vec<String> = stderr(&out).lines().map(str::to_owned).collect();
    assert_eq!(turns.len(), 4, "{turns:?}");
    assert_eq!(Results::parse(&text).unwrap().runs.len(), 2);
}

/// Two pairs and four allow no interval, six do.
#[test]
fn what_is_unsure_is_measured_by_more_processes() {
    let this = env!("CARGO_BIN_EXE_wgvq");
    let args = ["bench", "launch_d1", "--against", this, "--floor", "60s"];
    let more = ["--processes", "2", "--most-processes", "7"];
    let out = run(&[&args[..], &more, &QUICK].concat());
    let (text, said) = (stdout(&out), stderr(&out));
    assert!(out.status.success(), "{said}");
    let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(last["verdict"], "SAME");
    for side in ["new_ms", "old_ms"] {
        assert_eq!(last[side].as_array().unwrap().len(), 6, "{text}");
    }
    for processes in [4, 6] {
        let line = format!("unsure, on to {processes} processes: launch_d1");
        assert!(said.contains(&line), "{said}");
    }
    assert_eq!(Results::parse(&text).unwrap().runs.len(), 6);
}

/// A build that writes what it measured and fails, at once or later.
#[cfg(unix)]
#[test]
fn a_build_that_fails_on_its_way_is_no_result() {
    let folder = tempfile::tempdir().unwrap();
    let there = results(&["launch_d1"]);
    let text = there.text().unwrap();
    let header = text.lines().next().unwrap();
    for (wrote, said) in [
        (format!("{header}\n"), "no row of launch_d1"),
        (text.clone(), "though all of its rows are right"),
        (format!("{header}\n{{\"name\":\"laun"), "line 2"),
    ] {
        let lines = folder.path().join("lines.jsonl");
        std::fs::write(&lines, wrote).unwrap();
        let script = folder.path().join("build.sh");
        let text = format!(
            "#!/bin/sh\ncat {}\necho 'error: the device is lost' >&2\nexit 1\n",
            lines.display()
        );
        std::fs::write(&script, text).unwrap();
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        let against = ["--against", script.to_str().unwrap(), "--processes", "1"];
        let out = run(&[&["bench", "launch_d1"], &against[..], &QUICK].concat());
        let text = stderr(&out);
        assert_eq!(out.status.code(), Some(1), "{text}");
        assert!(text.contains(said), "{said}: {text}");
        assert!(text.contains("error: the device is lost"), "{text}");
    }
}

#[test]
fn each_type_is_measured_once_and_what_has_no_other_side_fails() {
    let name = "matmul_b1_m64_n64_k64_ta0_tb0";
    let args = [name, "--dtype", "f32,f16", "--processes", "1"];
    let both = results(&args);
    let types: Vec<&str> = both.runs[0].rows.iter().map(|r| &*r.dtype).collect();
    assert_eq!(types, ["f32", "f16"]);

    let folder = tempfile::tempdir().unwrap();
    let mut old = results(&["launch_d1"]);
    old.runs = vec![old.runs.swap_remove(0); 4];
    let file = folder.path().join("before.jsonl");
    std::fs::write(&file, old.text().unwrap()).unwrap();
    let gate = ["--processes", "4", "--fail-above", "5%", "--floor", "60s"];
    let compare = [
        "launch_d1",
        "scale_n99",
        "--compare",
        file.to_str().unwrap(),
    ];
    let out = run(&[&["bench"], &compare[..], &gate, &QUICK].concat());
    let said = stderr(&out);
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(said.contains("1 of 2 workloads are not among"), "{said}");
    assert!(said.contains("peaks over those of the file"), "{said}");
}

/// A peer that can copy, says that it can scale, and refuses the rest.
#[cfg(unix)]
const PEER: &str = r#"
while read -r line; do
    case $line in
    *wgvq_peer*) echo '{"peer":"cp"}' ;;
    *'"op":"copy"'* | *'"op":"scale"'*)
        folder=$(printf '%s' "$line" | sed 's/.*"folder":"\([^"]*\)".*/\1/')
        cp "$folder/in0.bin" "$folder/out0.bin"
        echo '{"outputs":[{"file":"out0.bin","dtype":"f32","shape":[1028]}]}' ;;
    *'"case"'*) echo '{"refused":"that is no copy"}' ;;
    *'"time"'*) echo '{"samples_ms":[50.0,50.0,51.0]}' ;;
    esac
done
"#;

#[cfg(unix)]
#[test]
fn a_peer_is_held_against_f64_and_has_a_time_where_it_is_right() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("peer.sh");
    std::fs::write(&script, PEER).unwrap();
    let command = format!("sh {}", script.display());
    let args = [
        "bench",
        "copy_n1028",
        "scale_n1028",
        "fill_n9",
        "--peer",
        &command,
        "--peer",
        "exec /nowhere/at/all 2>/dev/null",
    ];
    let out = run(&[&args[..], &QUICK].concat());
    assert!(out.status.success(), "{}", stderr(&out));
    assert!(
        stderr(&out).contains("passed over: it ended"),
        "{}",
        stderr(&out)
    );
    let results = Results::parse(&stdout(&out)).unwrap();
    let beside = |i: usize| {
        let peers = &results.runs[0].rows[i].peers;
        assert_eq!((peers.len(), peers[0].peer.as_str()), (1, "cp"));
        &peers[0]
    };
    let right = beside(0);
    assert_eq!((right.pass, right.ms), (Some(true), Some(50.0)));
    let [low, high] = right.interval.unwrap();
    assert!(low <= right.ratio.unwrap() && right.ratio.unwrap() <= high && low > 0.0);
    assert_eq!((right.samples.len(), right.ours_samples.len()), (8, 8));
    let wrong = beside(1);
    assert_eq!(
        (wrong.pass, wrong.ms, wrong.ratio),
        (Some(false), None, None)
    );
    assert!(wrong.detail.contains("expected"), "{}", wrong.detail);
    let refused = beside(2);
    assert_eq!((refused.pass, refused.ms), (None, None));
    assert!(
        refused.detail.contains("that is no copy"),
        "{}",
        refused.detail
    );
}

/// Libraries print where they are loaded, from Python and from C.
#[cfg(unix)]
#[test]
fn what_libraries_print_is_no_answer_of_a_peer() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/peers");
    let python = || std::process::Command::new("python3");
    // The package has no scripts.
    if !folder.exists() || python().arg("--version").output().is_err() {
        crate::common::skip::skipped("a peer in Python", "no python3 or no scripts here");
        return;
    }
    let program = "import peer, os; print('from Python'); os.system('echo from C'); \
                   peer.missing('all')";
    let mut command = python();
    command.args(["-c", program]).env("PYTHONPATH", &folder);
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command.stdin(std::process::Stdio::piped());
    command.stdout(std::process::Stdio::piped());
    command.stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    use std::io::Write;
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"{\"wgvq_peer\": 1}\n").unwrap();
    drop(input);
    let out = child.wait_with_output().unwrap();
    assert_eq!(stdout(&out), "{\"missing\": \"all\"}\n", "{}", stderr(&out));
    assert!(stderr(&out).contains("from Python") && stderr(&out).contains("from C"));
}

#[test]
fn results_become_a_page_and_a_file_for_others() {
    let folder = tempfile::tempdir().unwrap();
    let share = format!("--share={}", folder.path().join("results").display());
    let out = run(&[
        "bench",
        "scale_n999",
        "--seconds",
        "0",
        "--any-clock",
        &share,
    ]);
    assert!(out.status.success(), "{}", stderr(&out));
    assert!(stdout(&out).contains("| scale_n999 |"), "{}", stdout(&out));
    let files: Vec<_> = std::fs::read_dir(folder.path().join("results"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "jsonl"))
        .collect();
    assert_eq!(files.len(), 1);
    // Where it was measured is nobody's business.
    let text = std::fs::read_to_string(&files[0]).unwrap();
    assert!(text.contains("--share=results"), "{text}");
    // Another machine's is not replaced, and that is said before anything is measured.
    let mut other = Results::parse(&text).unwrap();
    other.runs[0].header.driver = "another".into();
    std::fs::write(&files[0], other.text().unwrap()).unwrap();
    let quick = [&["bench", "scale_n999", &share], &QUICK[..]].concat();
    for processes in [&[][..], &["--processes", "1"]] {
        let out = run(&[&quick[..], processes].concat());
        assert_eq!((out.status.code(), stdout(&out)), (Some(1), String::new()));
        assert!(stderr(&out).contains("--overwrite"), "{}", stderr(&out));
    }
    std::fs::write(&files[0], &text).unwrap();
    let out = run(&quick);
    assert!(out.status.success(), "{}", stderr(&out));

    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/runs/nvidia-h100.jsonl");
    let report = |more: &[&str]| {
        let mut command = wgvq();
        command.args(["bench", "report"]).arg(&files[0]).args(more);
        // The package has no recorded runs.
        if recorded.exists() {
            command.arg(&recorded);
        }
        command.current_dir(folder.path()).output().unwrap()
    };
    let out = report(&["-o", "site"]);
    assert!(out.status.success(), "{}", stderr(&out));
    let page = std::fs::read_to_string(folder.path().join("site/index.html")).unwrap();
    assert!(page.contains("scale_n999") && page.contains("<script"));
    assert!(stderr(&report(&["-o", "site"])).contains("--overwrite"));
    let table = stdout(&report(&["--format", "md"]));
    assert!(table.contains("| scale_n999 |"), "{table}");
    let csv = stdout(&report(&["--format", "csv"]));
    assert!(csv.starts_with("file,adapter"), "{csv}");
}

/// The files of a folder below `benches`, by their names.
fn recorded(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("benches")
        .join(folder);
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "jsonl"))
        .collect();
    files.sort();
    files
}

/// Checks that a page ends with the tables that a command makes of files.
fn ends_with(page: &str, command: &[&str], files: &[PathBuf]) {
    let out = wgvq().args(command).args(files).output().unwrap();
    assert!(out.status.success(), "{}", stderr(&out));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let text = std::fs::read_to_string(path).unwrap();
    let made = "is not as made; it says by which command";
    assert!(text.ends_with(&stdout(&out)), "{page} {made}");
}

/// The tables of `docs/results.md` and `docs/support.md` are those of the files that are there.
#[test]
fn pages_of_results_are_as_made() {
    let mut results = recorded("runs");
    if results.is_empty() {
        return; // the package has no recorded runs
    }
    let ours = ["llvmpipe-xeon2.jsonl", "nvidia-h100.jsonl"];
    results.retain(|path| ours.iter().any(|name| path.ends_with(name)));
    assert_eq!(results.len(), 2);
    results.extend(recorded("results"));
    let report = ["bench", "report", "--format", "md"];
    ends_with("docs/results.md", &report, &results);
    ends_with(
        "docs/support.md",
        &["selftest", "--table"],
        &recorded("support"),
    );
}
