use super::*;

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

#[test]
fn a_run_is_not_overwritten_unasked_and_foreign_files_never() {
    let base = tempfile::tempdir().unwrap();
    let path = base.path().join("run");
    drop(RunFolder::create(&path, false).unwrap());
    write(&path.join("config.toml"), "old");
    write(&path.join("notes.txt"), "mine");
    let refused = RunFolder::create(&path, false).unwrap_err().to_string();
    assert!(
        refused.contains("--resume") && refused.contains("--overwrite"),
        "{refused}"
    );
    // One that never came to anything leaves the old one.
    drop(RunFolder::create(&path, true).unwrap());
    assert_eq!(
        std::fs::read_to_string(path.join("config.toml")).unwrap(),
        "old"
    );
    let new = RunFolder::create(&path, true).unwrap();
    write(&new.metrics(), "new");
    assert!(path.join("config.toml").exists() && !path.join("metrics.csv").exists());
    new.establish().unwrap();
    assert!(!path.join("config.toml").exists() && new.metrics() == path.join("metrics.csv"));
    assert!(new.metrics().exists() && new.checkpoints().is_dir());
    assert_eq!(
        std::fs::read_to_string(path.join("notes.txt")).unwrap(),
        "mine"
    );

    let other = base.path().join("photos");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("a.jpg"), "x").unwrap();
    assert!(
        RunFolder::create(&other, true).is_err(),
        "a folder of something else is left alone"
    );
    assert!(RunFolder::create(&other.join("a.jpg"), true).is_err());
}

/// Without a lock, as a copy or a bundle leaves them, runs of every kind are runs.
#[test]
fn what_was_unpacked_can_be_replaced() {
    let base = tempfile::tempdir().unwrap();
    let configs = [
        toml::to_string(&RunConfig::default()).unwrap(),
        toml::to_string(&PriorConfig::default()).unwrap(),
        toml::to_string(&ContrastiveConfig::default()).unwrap(),
        toml::to_string(&VectorsConfig::default()).unwrap(),
    ];
    for (i, config) in configs.iter().enumerate() {
        let path = base.path().join(i.to_string());
        write(&path.join("config.toml"), config);
        write(&path.join("final.safetensors"), "a model");
        let refused = RunFolder::create(&path, false).unwrap_err().to_string();
        assert!(refused.contains("--overwrite"), "{config}: {refused}");
        let new = RunFolder::create(&path, true).unwrap();
        assert!(new.replaces());
        new.establish().unwrap();
        assert!(!path.join("final.safetensors").exists());
    }
    let other = base.path().join("other");
    write(&other.join("config.toml"), "[server]\nport = 80\n");
    assert!(RunFolder::create(&other, true).is_err());
    // A configuration that somebody wrote is no run, whatever it says.
    for config in configs.iter().map(String::as_str).chain([""]) {
        let alone = base.path().join("alone");
        write(&alone.join("config.toml"), config);
        let refused = RunFolder::create(&alone, true).unwrap_err().to_string();
        assert!(
            refused.contains("holds no run (there is `config.toml`)"),
            "{refused}"
        );
        assert!(alone.join("config.toml").is_file());
    }
}

#[test]
fn one_process_at_a_time_and_only_runs_resume() {
    let base = tempfile::tempdir().unwrap();
    let path = base.path().join("run");
    let first = RunFolder::create(&path, false).unwrap();
    std::fs::write(first.config(), "").unwrap();
    assert!(
        RunFolder::resume(&path)
            .unwrap_err()
            .to_string()
            .contains("another process")
    );
    drop(first);
    RunFolder::resume(&path).unwrap();
    assert!(
        RunFolder::resume(base.path())
            .unwrap_err()
            .to_string()
            .contains("no run")
    );
    // Nor is a run replaced on which another is being trained.
    std::fs::create_dir(path.join("prior")).unwrap();
    let prior = RunFolder::create(&path.join("prior"), false).unwrap();
    assert!(
        RunFolder::create(&path, true)
            .unwrap_err()
            .to_string()
            .contains("another process")
    );
    drop(prior);
    RunFolder::create(&path, true).unwrap();
}

/// A run's own files and what depends on it go with it; what its owner put beside it stays.
#[test]
fn a_run_that_is_replaced_goes_whole() {
    let base = tempfile::tempdir().unwrap();
    let path = base.path().join("run");
    drop(RunFolder::create(&path, false).unwrap());
    let run = [
        "config.toml",
        "metrics.csv",
        "test.csv",
        "final.safetensors",
        "run.lock",
        "sessions.json",
        "events.out.tfevents.1790000000.wgvq",
    ];
    let own = [
        "checkpoints/step-00000005.json",
        "pictures/summary.png",
        "pictures/gan.png",
        "pictures/originals.png",
        "pictures/step-00000005.png",
    ];
    let parts: Vec<String> = [
        "",
        "prior/",
        "prior-top/",
        "prior-middle-1/",
        "contrastive/",
    ]
    .iter()
    .flat_map(|part| {
        run.iter()
            .chain(&own)
            .map(move |file| format!("{part}{file}"))
    })
    .collect();
    let more = [
        "pace.json",
        "prior/tokens/tokens.json",
        "prior/tokens/train-00000.safetensors",
        "text/tokenizer.json",
        "text/characters.txt",
        "text/asked.toml",
        "report/rate.png",
        "report/rate.csv",
        "report/run.html",
        "report/evaluation.csv",
        "inspect/index.html",
        "inspect/codes-2.png",
        "inspect/top/usage.png",
        ".wgvq-a1b2.tmp",
        "checkpoints/.wgvq-c3.tmp",
    ];
    let foreign = [
        "notes.txt",
        "prior/notes.txt",
        "prior-mine/config.toml",
        "checkpoints/step-notes.json",
        "inspect/codes-of-mine.png",
        "inspect/top/mine.png",
        "report/mine.csv",
        "text/mine.txt",
    ];
    for file in parts.iter().map(String::as_str).chain(more).chain(foreign) {
        write(&path.join(file), "old");
    }
    let new = RunFolder::create(&path, true).unwrap();
    std::fs::create_dir_all(path.join("contrastive/pictures")).unwrap();
    new.establish().unwrap();
    for file in parts
        .iter()
        .map(String::as_str)
        .chain(more)
        .filter(|f| *f != "run.lock")
    {
        assert!(!path.join(file).exists(), "{file}");
    }
    for file in foreign {
        assert!(path.join(file).exists(), "{file}");
    }
    for folder in [
        "contrastive",
        "prior-top",
        "prior/tokens",
        "prior/checkpoints",
    ] {
        assert!(!path.join(folder).exists(), "{folder} is empty");
    }
}

#[test]
fn a_prior_keeps_the_tokens_that_its_successor_goes_on_with() {
    let base = tempfile::tempdir().unwrap();
    let path = base.path().join("prior");
    drop(RunFolder::create(&path, false).unwrap());
    write(&path.join("config.toml"), "old");
    write(&path.join("tokens/train-00000.safetensors"), "old");
    let new = RunFolder::create(&path, true).unwrap();
    new.establish().unwrap();
    assert!(path.join("tokens/train-00000.safetensors").exists());
    write(&path.join("config.toml"), "old");
    drop(new);
    let new = RunFolder::create(&path, true).unwrap();
    write(&new.tokens().join("test-00000.safetensors"), "new");
    write(&new.beside("text").join("tokenizer.json"), "new");
    assert!(
        path.join("tokens/train-00000.safetensors").exists() && !base.path().join("text").exists()
    );
    new.establish().unwrap();
    assert!(!path.join("tokens/train-00000.safetensors").exists());
    assert!(path.join("tokens/test-00000.safetensors").exists());
    assert!(base.path().join("text/tokenizer.json").exists());
}

/// A process that was killed while it replaced a run leaves one that is resumed, or replaced
/// again.
#[test]
fn a_replacement_that_was_cut_short_is_resumed_or_overwritten() {
    for overwrite in [false, true] {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("run");
        drop(RunFolder::create(&path, false).unwrap());
        write(&path.join("config.toml"), "old");
        write(&path.join("checkpoints/step-00000005.json"), "old");
        // A folder stands where a file of the new run goes: it stops there, as a kill would.
        let new = RunFolder::create(&path, true).unwrap();
        write(&new.config(), "new");
        write(&new.test(), "new");
        let list = r#"{"here":["checkpoints/step-00000005.json"],"beside":[]}"#;
        write(&new.path().join(".wgvq-replaced.json"), list);
        std::fs::rename(new.path(), path.join(".wgvq-run-new")).unwrap();
        std::fs::remove_file(path.join("config.toml")).unwrap();
        drop(new);
        let refused = RunFolder::create(&path, false).unwrap_err().to_string();
        assert!(refused.contains("--resume"), "{refused}");
        let next = if overwrite {
            RunFolder::create(&path, true)
        } else {
            RunFolder::resume(&path)
        };
        let next = next.unwrap();
        assert_eq!(
            std::fs::read_to_string(path.join("config.toml")).unwrap(),
            "new"
        );
        assert!(
            path.join("test.csv").exists() && !path.join("checkpoints/step-00000005.json").exists()
        );
        assert_eq!(next.replaces(), overwrite);
    }
}

#[test]
fn what_a_kill_left_behind_is_cleared() {
    let base = tempfile::tempdir().unwrap();
    let path = base.path().join("run");
    drop(RunFolder::create(&path, false).unwrap());
    for left in [
        path.join(".wgvq-a1b2.tmp"),
        path.join("checkpoints/.wgvq-c3.tmp"),
    ] {
        std::fs::write(&left, "half").unwrap();
    }
    // So is what a run had made that was to replace another, and what an earlier version had
    // not removed yet.
    write(&path.join(".wgvq-run-next/config.toml"), "half");
    drop(RunFolder::create(&path, false).unwrap());
    assert!(
        !path.join(".wgvq-a1b2.tmp").exists() && !path.join("checkpoints/.wgvq-c3.tmp").exists()
    );
    assert!(!path.join(".wgvq-run-next").exists());
    write(&path.join("metrics.csv"), "old");
    write(&path.join("pictures/summary.png"), "old");
    let refused = RunFolder::create(&path, false).unwrap_err().to_string();
    assert!(
        refused.contains("left of a run") && refused.contains("--overwrite"),
        "{refused}"
    );
    RunFolder::create(&path, true).unwrap().establish().unwrap();
    assert!(!path.join("metrics.csv").exists() && !path.join("pictures/summary.png").exists());
}
