//! `wgvq export --page`: the browser page around a run.

use crate::cli::Global;
use crate::cli::common::apart::{apart, model_of};
use crate::cli::common::images::png;
use crate::cli::common::json;
use crate::cli::common::output;
use crate::cli::common::place::Place;
use crate::cli::first_stage::inspect::{chosen, name_of, open};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use wgvq::files;
use wgvq::inference::bundle::{Source, public_model, public_prior};
use wgvq::inference::texts::{text_folder, text_reader};
use wgvq::inference::{FirstStageModel, Hierarchy, PriorModel};
use wgvq::models::text::TextFormat;
use wgvq::storage::{atomic, checkpoint, staged};
use wgvq::{Error, Result};

/// The engine's files, which scripts/web.sh builds.
const ENGINE: [&str; 2] = ["wgvq_web.js", "wgvq_web_bg.wasm"];
/// The engine's name in its file, before its version and a semicolon.
const ENGINE_NAME: &str = "wgvq-page-engine ";
/// Pictures that the page offers.
const SAMPLES: usize = 6;
/// Codes that the page can show a palette of.
const MOST_CODES: usize = 4096;
/// The file in which the page describes itself: its title, its pictures, what else it has.
const ABOUT: &str = "page.json";

/// The files that every page has, but for the engine.
const PAGE: [(&str, &[u8]); 6] = [
    (
        "index.html",
        include_bytes!("../../../assets/page/index.html"),
    ),
    ("app.js", include_bytes!("../../../assets/page/app.js")),
    ("train.js", include_bytes!("../../../assets/page/train.js")),
    ("keep.js", include_bytes!("../../../assets/page/keep.js")),
    (
        "style.css",
        include_bytes!("../../../assets/page/style.css"),
    ),
    ("icon.svg", include_bytes!("../../../assets/page/icon.svg")),
];
/// The licence of the emoji.
const EMOJI: &[u8] = include_bytes!("../../../assets/LICENSE-noto-emoji.txt");

/// A picture that the page offers: file, name and PNG.
type SamplePicture = (String, String, Vec<u8>);

/// A page that is asked for.
pub struct Page<'a> {
    pub run: &'a Path,
    pub folder: &'a Path,
    /// The prior's folder, or another run that has one.
    pub prior: Option<&'a Path>,
    pub title: Option<&'a str>,
    /// Where the engine lies.
    pub engine: Option<&'a Path>,
    /// Where the run's images lie now.
    pub data: Option<&'a str>,
    pub overwrite: bool,
}

type File = (String, Vec<u8>);

impl Page<'_> {
    /// Writes the page: all of it, or nothing.
    pub fn write(&self, global: &Global) -> Result<()> {
        let place = Place::folder(global, self.folder)?;
        let earlier = self.earlier()?;
        let mut all: Vec<File> = engine(self.engine)?;
        let gpu = global.gpu()?;
        let model = FirstStageModel::load(&gpu, self.run)?;
        check(self.run, &model)?;
        let bytes = checkpoint::to_bytes(&public_model(&model_of(self.run), Source::Untold)?)?;
        let hash = hex::encode(Sha256::digest(&bytes));
        all.push(("model/model.safetensors".into(), bytes));
        let prior = self.prior_folder();
        let mut reads_texts = false;
        if let Some(folder) = &prior {
            let own = PriorModel::load(&gpu, folder, &model)?;
            let texts = texts_of(folder, own)?;
            reads_texts = !texts.is_empty();
            let bytes =
                checkpoint::to_bytes(&public_prior(&model_of(folder), &hash, Source::Untold)?)?;
            all.push(("model/prior.safetensors".into(), bytes));
            all.extend(texts);
        }
        let (samples, credit) = self.samples(global, &model)?;
        let offered: Vec<Value> = samples
            .iter()
            .map(|(file, name, _)| json!({ "name": name, "file": file }))
            .collect();
        all.extend(samples.into_iter().map(|(file, _, png)| (file, png)));
        if !credit.is_empty() {
            all.push(("samples/LICENSE-noto-emoji.txt".into(), EMOJI.to_vec()));
        }
        all.extend(PAGE.map(|(name, bytes)| (name.to_owned(), bytes.to_vec())));
        let title = self.title.map_or_else(|| name_of(self.run), str::to_owned);
        let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
        let about = json!({
            "title": title, "heading": title, "credit": credit, "engine": engine_mark(),
            "prior": prior.is_some(), "tokenizer": reads_texts, "samples": offered,
            "files": names,
        });
        let about = serde_json::to_vec_pretty(&about).map_err(Error::data)?;
        all.push((ABOUT.into(), about));
        self.put(&place, &all, &earlier)?;
        let size: usize = all.iter().map(|(_, bytes)| bytes.len()).sum();
        if global.json {
            let line = json!({
                "page": output::shown(self.folder), "files": all.len(), "bytes": size,
                "model": hash, "prior": prior.is_some(), "texts": reads_texts,
            });
            json::print("export-page", &line);
        } else {
            let (folder, kib) = (self.folder.display(), size.div_ceil(1 << 10));
            output::result(&format!("{folder}: {} files, {kib} KiB", all.len()));
            let serve = format!(
                "any server of files shows it: python3 -m http.server --directory {}",
                output::shell(self.folder)
            );
            output::note(global, &serve);
        }
        Ok(())
    }

    /// Returns the files of an earlier page in the folder.
    ///
    /// # Errors
    /// If the folder holds something, and may not be written over.
    fn earlier(&self) -> Result<Vec<PathBuf>> {
        let failed = |e: std::io::Error| Error::file(self.folder, format!("cannot be listed: {e}"));
        let mut is_empty = true;
        for entry in std::fs::read_dir(self.folder).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            is_empty &= name.to_string_lossy().starts_with(staged::LOCK);
        }
        if is_empty {
            return Ok(Vec::new());
        }
        if !self.overwrite {
            let what = "is not empty; --overwrite replaces a page there, and leaves other files be";
            return Err(Error::file(self.folder, what));
        }
        let about = std::fs::read(self.folder.join(ABOUT)).unwrap_or_default();
        let about: Value = serde_json::from_slice(&about).unwrap_or_default();
        let names = about["files"].as_array().into_iter().flatten();
        let inside = |name: &&str| {
            let mut parts = Path::new(name).components();
            parts.all(|part| matches!(part, std::path::Component::Normal(_)))
        };
        let names = names.filter_map(Value::as_str).filter(inside);
        Ok(names.map(|name| self.folder.join(name)).collect())
    }

    fn put(&self, place: &Place, all: &[File], earlier: &[PathBuf]) -> Result<()> {
        let paths: Vec<PathBuf> = all.iter().map(|(name, _)| self.folder.join(name)).collect();
        apart([model_of(self.run)], &paths)?;
        let staged = place.staged()?;
        for (name, bytes) in all {
            let path = staged.path().join(name);
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)
                    .map_err(|e| Error::file(folder, format!("cannot be made: {e}")))?;
            }
            atomic::write(&path, bytes)?;
        }
        staged.put(earlier)
    }

    /// Returns the folder of the prior: the one that was named, or that of a run that was named,
    /// or the run's own where it has one.
    fn prior_folder(&self) -> Option<PathBuf> {
        match self.prior {
            Some(named) if named.join("prior").is_dir() => Some(named.join("prior")),
            Some(named) => Some(named.to_owned()),
            None => {
                let own = crate::cli::common::pictures::folder_of(self.run).join("prior");
                own.join("final.safetensors").is_file().then_some(own)
            }
        }
    }

    /// Returns pictures that are held out: file, name and PNG of each, and whom to thank for them.
    fn samples(
        &self,
        global: &Global,
        model: &FirstStageModel,
    ) -> Result<(Vec<SamplePicture>, String)> {
        let set = match open(self.run, model, self.data) {
            Ok(set) => set,
            Err(e) if self.data.is_some() => return Err(e),
            Err(e) => {
                output::note(global, &format!("the page offers no pictures: {e}"));
                return Ok(Default::default());
            }
        };
        let [width, height, channels] = model.image();
        let mut samples = Vec::new();
        for (i, number) in chosen(&set, SAMPLES)?.into_iter().enumerate() {
            let number = number as usize;
            let class = set.class_name(number).map(str::to_owned);
            let name = class.unwrap_or_else(|| format!("picture {}", i + 1));
            let bytes = png(&set.image(number)?, width, height, channels)?;
            samples.push((format!("samples/{}.png", i + 1), name, bytes));
        }
        let credit = match set.name.as_str() {
            "emoji" => "Pictures and training data: Noto Emoji.",
            _ => "",
        };
        Ok((samples, credit.to_owned()))
    }
}

/// Checks that the page can show a model.
///
/// # Errors
/// If not; the message says what it cannot show.
fn check(run: &Path, model: &FirstStageModel) -> Result<()> {
    let refuse = |what: String| {
        Err(Error::file(
            run,
            format!("{what}, which the page cannot show"),
        ))
    };
    let [level] = model.levels() else {
        let n = model.levels().len();
        return refuse(format!("is a model of {n} levels of codes"));
    };
    if level.codebooks != 1 {
        let (kind, n) = (&model.config().quantizer.kind, level.codebooks);
        return refuse(format!("has {n} codebooks (the quantizer `{kind}`)"));
    }
    if level.codebook_size > MOST_CODES {
        let what = format!("has {} codes, more than {MOST_CODES}", level.codebook_size);
        return refuse(what);
    }
    Ok(())
}

/// Returns the files of what reads the texts of a prior: none where it reads none.
fn texts_of(prior: &Path, model: PriorModel) -> Result<Vec<File>> {
    let Some(text) = model.info().vocabulary.text else {
        return Ok(Vec::new());
    };
    if let TextFormat::Rows(channels) = text.form {
        let what = format!(
            "is a prior that reads embeddings of {channels} channels, which the page cannot make \
             of a text"
        );
        return Err(Error::file(prior, what));
    }
    let run = prior.parent().unwrap_or(prior);
    text_reader(run, &Hierarchy::new(vec![model])?)?;
    ["tokenizer.json", "characters.txt"]
        .into_iter()
        .map(|name| {
            // Without the characters, none is unknown.
            let bytes = match files::read(&text_folder(run).join(name), files::LIST) {
                Err(_) if name == "characters.txt" => Vec::new(),
                read => read?,
            };
            Ok((format!("model/{name}"), bytes))
        })
        .collect()
}

/// Returns the name of this version's engine.
fn engine_mark() -> String {
    format!("{ENGINE_NAME}{};", env!("CARGO_PKG_VERSION"))
}

/// Returns the engine's files: those of `asked`, or of the first place that has them.
///
/// # Errors
/// If there are none, or they are of another version.
fn engine(asked: Option<&Path>) -> Result<Vec<File>> {
    let places = match asked {
        Some(asked) => vec![asked.to_owned()],
        None => places(&std::env::current_exe().unwrap_or_default()),
    };
    let is_there = |place: &&PathBuf| ENGINE.iter().all(|name| place.join(name).is_file());
    let Some(place) = places.iter().find(is_there) else {
        let looked: Vec<String> = places.iter().map(|p| p.display().to_string()).collect();
        let what = format!(
            "the page's engine ({}) is not in {}: releases have it in share/wgvq/page; in a \
             checkout scripts/web.sh builds it into target/web/page",
            ENGINE.join(", "),
            looked.join(", ")
        );
        return Err(Error::config("--engine", what));
    };
    let read = |name: &str| {
        Ok((
            name.to_owned(),
            files::read(&place.join(name), files::LIST)?,
        ))
    };
    let all = ENGINE
        .into_iter()
        .map(read)
        .collect::<Result<Vec<File>>>()?;
    let own = engine_mark();
    match all.last().and_then(|(_, wasm)| mark_in(wasm)) {
        Some(mark) if mark == own => Ok(all),
        found => {
            let found = found.unwrap_or_else(|| "no engine of wgvq".to_owned());
            let what = format!(
                "`{}` is `{found}`, and this program needs `{own}`: build it anew by \
                 scripts/web.sh",
                place.join(ENGINE[1]).display()
            );
            Err(Error::config("--engine", what))
        }
    }
}

/// The places where a program at `program` finds the engine: beside it, as releases are packed, and
/// in the checkout that it was built in.
fn places(program: &Path) -> Vec<PathBuf> {
    let share = Path::new("share").join("wgvq").join("page");
    let folder = program.parent().unwrap_or(Path::new("."));
    let mut places = vec![folder.join(&share), folder.join("..").join(&share)];
    let target = |at: &&Path| at.file_name().is_some_and(|name| name == "target");
    let target = program.ancestors().find(target);
    places.extend(target.map(|target| target.join("web").join("page")));
    places
}

/// Returns what an engine calls itself in its file.
fn mark_in(wasm: &[u8]) -> Option<String> {
    let name = ENGINE_NAME.as_bytes();
    let at = wasm.windows(name.len()).position(|part| part == name)?;
    let mark = &wasm[at..wasm.len().min(at + 64)];
    let end = mark.iter().position(|byte| *byte == b';')?;
    String::from_utf8(mark[..=end].to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_are_known_by_their_name() {
        let own = engine_mark();
        let file = |mark: &str| [b"\0asm....".as_slice(), mark.as_bytes(), b"rest"].concat();
        assert_eq!(mark_in(&file(&own)), Some(own));
        let other = format!("{ENGINE_NAME}0.0.1;");
        assert_eq!(mark_in(&file(&other)), Some(other));
        assert_eq!(mark_in(&file("some engine;")), None);
        assert_eq!(mark_in(&file(ENGINE_NAME)), None);
    }

    #[test]
    fn the_engine_is_looked_for_beside_the_program_and_in_its_checkout() {
        let program = Path::new("/src/wgvq/target/debug/wgvq");
        let last = Path::new("/src/wgvq/target/web/page");
        assert_eq!(places(program).last().map(PathBuf::as_path), Some(last));
        let release = places(Path::new("/opt/wgvq-v1/wgvq"));
        assert_eq!(release[0], Path::new("/opt/wgvq-v1/share/wgvq/page"));
        assert_eq!(release.len(), 2);
    }
}
