//! `wgvq kernels`, and `scripts/kernel_budgets.py`, which holds what compilers say against a table.

use crate::common::skip::skipped;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn wgvq(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wgvq"))
        .args(arguments)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn kernels_are_listed_and_written_by_name() {
    let all = text(&wgvq(&["kernels"]).stdout);
    let few = text(&wgvq(&["kernels", "--pairwise"]).stdout);
    let names = |text: &str| {
        let names = text
            .lines()
            .map(|l| l.split('(').next().unwrap().to_owned());
        names.collect::<BTreeSet<String>>()
    };
    assert_eq!(names(&all), names(&few));
    assert!(few.lines().count() * 4 < all.lines().count());

    let folder = tempfile::tempdir().unwrap();
    let at = |kind: &str| folder.path().join(kind).display().to_string();
    let [wgsl, spirv, msl, hlsl] = ["wgsl", "spirv", "msl", "hlsl"].map(at);
    let made = wgvq(&[
        "kernels", "adam", "--wgsl", &wgsl, "--spirv", &spirv, "--msl", &msl, "--hlsl", &hlsl,
    ]);
    // Those of adam, and of adam_bf16.
    assert_eq!(text(&made.stdout), "16 variants written\n", "{made:?}");
    for (folder, kind, mark) in [
        (&wgsl, "wgsl", "@compute"),
        (&msl, "metal", "kernel void"),
        (&hlsl, "hlsl", "[numthreads("),
    ] {
        let file = Path::new(folder).join(format!("adam_CLIPPED=1_EACH=4_.{kind}"));
        assert!(fs::read_to_string(file).unwrap().contains(mark), "{kind}");
    }
    let words = fs::read(Path::new(&spirv).join("adam_EACH=4_.spv")).unwrap();
    assert_eq!(words[..4], 0x0723_0203_u32.to_le_bytes());

    // What is there is not replaced unasked.
    let mine = Path::new(&wgsl).join("adam_EACH=4_.wgsl");
    fs::write(&mine, "mine").unwrap();
    let again = wgvq(&["kernels", "adam", "--wgsl", &wgsl]);
    let said = text(&again.stderr);
    assert!(
        said.contains("--overwrite") && !again.status.success(),
        "{said}"
    );
    assert_eq!(fs::read(&mine).unwrap(), b"mine");
    let replaced = wgvq(&["kernels", "adam", "--wgsl", &wgsl, "--overwrite"]);
    assert!(replaced.status.success(), "{replaced:?}");
    assert_ne!(fs::read(&mine).unwrap(), b"mine");

    let unknown = wgvq(&["kernels", "adamm"]);
    assert!(text(&unknown.stderr).contains("`adamm`"), "{unknown:?}");
}

/// Software Vulkan has no registers to tell of.
#[test]
fn a_driver_that_tells_nothing_is_named() {
    let refused = wgvq(&["kernels", "--statistics", "adam", "--adapter", "llvmpipe"]);
    let error = text(&refused.stderr);
    if error.contains("no usable GPU adapter") {
        return skipped(
            "kernel_budgets::a_driver_that_tells_nothing_is_named",
            "no llvmpipe on this machine",
        );
    }
    assert_eq!(refused.status.code(), Some(1), "{error}");
    assert!(
        error.contains("VK_KHR_pipeline_executable_properties") && error.contains("llvmpipe"),
        "{error}"
    );
}

/// A row as `wgvq kernels --statistics --json` prints it.
fn row(kernel: &str, registers: u32, spills: u32, instructions: u32) -> String {
    let counts = format!(r#""registers": {registers}, "spills": {spills}"#);
    let rest = format!(r#""occupancy_unit": "waves", "instructions": {instructions}"#);
    format!(r#"{{"kernel": "{kernel}", {counts}, "occupancy": 8, {rest}}}"#)
}

#[test]
fn a_budget_that_is_exceeded_fails() {
    if Command::new("python3").arg("--version").output().is_err() {
        return skipped(
            "kernel_budgets::a_budget_that_is_exceeded_fails",
            "no python3 on this machine",
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let run = |what: &str, mesa: &str, rows: &[String]| {
        fs::write(at("gpu1.jsonl"), rows.join("\n")).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/kernel_budgets.py");
        let output = Command::new("python3")
            .arg(script)
            .args([what, "--mesa", mesa, "--budgets"])
            .arg(at("budgets.csv"))
            .arg("--page")
            .arg(at("kernels.md"))
            .arg(at("gpu1.jsonl"))
            .output()
            .unwrap();
        (
            output.status.code(),
            text(&output.stdout) + &text(&output.stderr),
        )
    };
    // Two variants of one kernel: its budget is the worst of both.
    let made = [row("a(X=1)", 40, 0, 1000), row("a(X=2)", 64, 0, 500)];
    let (code, said) = run("record", "1", &made);
    assert_eq!(code, Some(0), "{said}");
    let page = fs::read_to_string(at("kernels.md")).unwrap();
    assert!(page.contains("| `a` | 64, 8 |"), "{page}");

    assert_eq!(run("check", "1", &made).0, Some(0));
    let better = [row("a(X=1)", 30, 0, 1015)];
    assert_eq!(run("check", "1", &better).0, Some(0), "a little longer");
    for (worse, named) in [
        (row("a(X=1)", 65, 0, 10), "65 registers, of 64"),
        (row("a(X=1)", 64, 3, 10), "3 spills, of 0"),
        (row("a(X=1)", 64, 0, 1100), "1100 instructions, of 1000"),
        (row("b", 1, 0, 1), "b has no budget"),
        (
            row("a(X=1)", 64, 0, 10).replace(r#""occupancy": 8"#, r#""occupancy": 7"#),
            "7 waves fit at once, 8 before",
        ),
        (
            r#"{"kernel": "a", "refused": "crash"}"#.into(),
            "refused: a: crash",
        ),
    ] {
        let (code, said) = run("check", "1", std::slice::from_ref(&worse));
        assert_eq!(code, Some(1), "{worse}: {said}");
        assert!(said.contains(named), "{worse}: {said}");
        let (code, said) = run("check", "2", std::slice::from_ref(&worse));
        assert!(said.contains(named), "{said}");
        if worse.contains("refused") {
            assert_eq!(code, Some(1), "refused by any compiler: {said}");
        } else {
            assert_eq!(code, Some(0), "another compiler only warns: {said}");
            assert!(said.contains("warning only"), "{said}");
        }
    }
    // Budgets of another version go where this one has those of all GPUs, and only there.
    let table = fs::read_to_string(at("budgets.csv")).unwrap();
    fs::write(at("budgets.csv"), table.clone() + "gpu2,a,1,1,0,1,8\n").unwrap();
    let (code, said) = run("record", "2", &made);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("budgets of gpu2 would be lost"), "{said}");
    fs::write(at("budgets.csv"), table).unwrap();
    assert_eq!(run("record", "2", &made).0, Some(0));
}

/// NVK's code: a loop of a loop, of which the inner one counts.
const CODE_OF_GEFORCE: &str = "\
block.u 0 L1 [] -> {
      r0        = mov rZ                       // delay=1
} -> [1]
block.u 1 L2 [0, 3] -> {
      r1        = ffma.ftz r2 r3 r1            // delay=9
} -> [2]
block.u 2 L3 [1, 2] -> {
      r1        = ffma.ftz r2 r3 r1            // delay=1
      r4        = ffma.ftz r2 r3 r4            // delay=1
      r2..6     = ld.shared.b128 [r0]          // delay=2 wr:0
                  bra up0 L3                   // delay=1
} -> [2, 3]
block.u 3 L4 [2] -> {
                  bra up1 L2                   // delay=1
} -> [1, 4]
block.u 4 L5 [3] -> {
                  exit                         // delay=1
} -> []
";

/// The same of the `coopmat` core.
const MATRICES_OF_GEFORCE: &str = "\
block.u 0 L1 [] -> {
      r0        = mov rZ                       // delay=1
} -> [1]
block.u 1 L2 [0, 1] -> {
      r0..4     = hmma.m16n8k16.f32 r4..8 r8..10 r0..4 // delay=2
      r4        = mov r12                      // delay=1
      r8..10    = ld.shared.b64 [r0]           // delay=2 wr:0
                  bra up0 L2                   // delay=1
} -> [1, 2]
block.u 2 L3 [1] -> {
                  exit                         // delay=1
} -> []
";
const MATRICES_OF_RADEON: &str = "\
BB1:
\tv_wmma_f32_16x16x16_f16 v[0:3], v[4:11], v[12:19], v[0:3] ; 00
\tds_load_b128 v[4:7], v9              ; 00
\ts_cbranch_scc1 BB1                   ; 00
\ts_endpgm                             ; 00
";

/// RADV's code: what waits is no instruction of the loop.
const CODE_OF_RADEON: &str = "\
BB0:
\ts_mov_b32 s0, 0                      ; 00
BB1:
\tv_fmac_f32_e32 v1, v2, v3            ; 00
\ts_waitcnt lgkmcnt(0)                 ; 00
\tv_dual_fmac_f32 v1, v2, v3 :: v_dual_fmac_f32 v4, v5, v6 ; 00
\tds_load_b128 v[2:5], v9              ; 00
\ts_cbranch_scc1 BB1                   ; 00
\ts_endpgm                             ; 00
";

#[test]
fn what_the_hottest_loop_multiplies_by_is_counted() {
    if Command::new("python3").arg("--version").output().is_err() {
        return skipped(
            "kernel_budgets::what_the_hottest_loop_multiplies_by_is_counted",
            "no python3 on this machine",
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let script = |name: &str| {
        let mut python = Command::new("python3");
        python.arg(
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("scripts")
                .join(name),
        );
        python
    };
    let ran = |command: &mut Command| {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        text(&output.stdout)
    };
    let all = text(&wgvq(&["kernels"]).stdout);
    let all: BTreeSet<&str> = all.lines().collect();
    for (gpu, kind, code, matrices) in [
        (
            "rtx1.off",
            "NAK_assembly",
            CODE_OF_GEFORCE,
            MATRICES_OF_GEFORCE,
        ),
        ("rx1.off", "Assembly", CODE_OF_RADEON, MATRICES_OF_RADEON),
    ] {
        fs::create_dir(at(gpu)).unwrap();
        let names = ran(script("kernel_loops.py").args(["names", "--gpu", gpu]));
        for name in names.lines() {
            let code = if name.contains("SIDE=") {
                matrices
            } else {
                code
            };
            assert!(all.contains(name), "{name} is no variant");
            let stem = name.replace(['(', ')', ','], "_");
            fs::write(at(gpu).join(format!("{stem}.{kind}.txt")), code).unwrap();
        }
    }
    ran(script("kernel_loops.py")
        .args(["record", "--table"])
        .arg(at("loops.csv"))
        .args([at("rtx1.off"), at("rx1.off")]));
    let table = fs::read_to_string(at("loops.csv")).unwrap();
    assert!(
        table.contains("rtx1,off,matmul,128x64 8x8,2,4,5,0,2,10\n"),
        "{table}"
    );
    assert!(
        table.contains("rx1,off,matmul,128x64 8x8,2,4,0,0,0,0\n"),
        "{table}"
    );

    fs::write(at("rtx1.jsonl"), row("a", 1, 0, 1)).unwrap();
    ran(script("kernel_budgets.py")
        .args(["record", "--mesa", "1", "--budgets"])
        .arg(at("budgets.csv"))
        .arg("--page")
        .arg(at("kernels.md"))
        .arg("--loops")
        .arg(at("loops.csv"))
        .arg(at("rtx1.jsonl")));
    let page = fs::read_to_string(at("kernels.md")).unwrap();
    for line in [
        "| `matmul` | 128x64 8x8 | 40 % | 50 % |\n",
        "| `matmul` | coopmat 128x128 | 4.0, 3.0 | 3.0 |\n",
    ] {
        assert!(page.contains(line), "{page}");
    }
}
