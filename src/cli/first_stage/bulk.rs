//! `wgvq encode` of a whole data set: in one process, in shards, and their joining.

use crate::cli::common::output::{self, Bar};
use crate::cli::common::place::Place;
use crate::cli::common::signals::stop_flag;
use crate::cli::first_stage::inspect::open;
use crate::cli::{CommandStatus, Global};
use clap::Args;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use wgvq::codes::shards::{self, ShardManifest, ShardNumber, ShardSource, Shards};
use wgvq::codes::tokens::Tokens;
use wgvq::codes::{Codes, Labels};
use wgvq::inference::tokenize::{
    ShardOptions, encode_shard, encode_whole, join_tokens, shard_source, tokenize,
};
use wgvq::inference::{FirstStageModel, Progress};
use wgvq::{Error, Result};

/// The options of `wgvq encode` that are about data sets.
#[derive(Args)]
pub struct Bulk {
    /// A whole data set instead of image files: a folder, a file, or a named data set [default with
    /// --shard and --tokens: the run's own]
    #[arg(long, value_name = "DIR|FILE|NAME")]
    pub data: Option<String>,
    /// One part of the data set: the third of seven by 3/7, or by `auto` the one whose number a
    /// Slurm array or MPI has set. A file of codes and its manifest go into the folder; a part
    /// that is done is skipped
    #[arg(long, value_name = "I/N|auto")]
    shard: Option<String>,
    /// Make the tokens of a prior, as `wgvq prior` does, instead of a file of codes
    #[arg(long)]
    tokens: bool,
    /// With --tokens or --latents: the level of codes, where there are several
    #[arg(long, value_name = "NAME")]
    pub level: Option<String>,
    /// Check that a folder has each shard of one data set, and merge them to what one process makes
    #[arg(long, value_name = "DIR", conflicts_with_all = ["run", "data", "shard", "tokens"])]
    join: Option<PathBuf>,
}

impl Bulk {
    /// Refuses options that are of no use here.
    ///
    /// # Errors
    /// If one was given.
    pub fn check(&self, latents: bool) -> Result<()> {
        if self.level.is_some() && !self.tokens && !latents {
            let what = "is read with --tokens and --latents alone: codes are of all levels";
            return Err(Error::config("--level", what));
        }
        Ok(())
    }

    /// The first option that was given, all of which are of images.
    pub fn given(&self) -> Option<&'static str> {
        [
            ("--data", self.data.is_some()),
            ("--shard", self.shard.is_some()),
            ("--tokens", self.tokens),
            ("--level", self.level.is_some()),
            ("--join", self.join.is_some()),
        ]
        .into_iter()
        .find_map(|(option, given)| given.then_some(option))
    }

    /// Makes what goes into a folder: a shard or tokens. `None` where a file of codes is asked for.
    pub fn run(
        &self,
        global: &Global,
        run: Option<&Path>,
        out: &Path,
        overwrite: bool,
    ) -> Option<Result<CommandStatus>> {
        let work = Work {
            global,
            out,
            overwrite,
        };
        match (run, &self.shard, &self.join) {
            (Some(run), Some(shard), _) => Some(self.shard(&work, run, shard)),
            (Some(run), None, _) if self.tokens => Some(self.tokens(&work, run)),
            (_, _, Some(folder)) => match Shards::open(folder) {
                Ok(shards) if matches!(shards.source, ShardSource::Tokens { .. }) => {
                    Some(work.join(&shards))
                }
                Ok(_) => None,
                Err(e) => Some(Err(e)),
            },
            _ => None,
        }
    }

    /// Merges shards of codes.
    pub fn joined(&self, global: &Global) -> Result<Codes> {
        let folder = self.join.as_deref().unwrap_or(Path::new("."));
        let shards = Shards::open(folder)?;
        tell_adapters(global, &shards);
        shards::join(&shards)
    }

    /// Encodes the whole data set, and returns what is known of its images beside; `None` if this
    /// was stopped.
    pub fn whole(
        &self,
        global: &Global,
        run: &Path,
        model: &FirstStageModel,
    ) -> Result<Option<(Codes, Labels)>> {
        let set = open(run, model, self.data.as_deref())?;
        let codes = watched(global, "nothing was written", |progress| {
            encode_whole(model, &set, progress)
        })?;
        Ok(codes.map(|codes| (codes, Labels::of(&set))))
    }

    fn options(&self, model: &FirstStageModel) -> Result<ShardOptions> {
        Ok(match self.tokens {
            true => ShardOptions::Tokens(model.level(self.level.as_deref())?),
            false => ShardOptions::Codes,
        })
    }

    fn tokens(&self, work: &Work, run: &Path) -> Result<CommandStatus> {
        let place = work.tokens_place()?;
        let model = FirstStageModel::load(&work.global.gpu()?, run)?;
        let level = model.level(self.level.as_deref())?;
        let set = open(run, &model, self.data.as_deref())?;
        work.write_tokens(&place, &mut |folder, progress| {
            tokenize(&model, level, &set, None, folder, progress)
        })
    }

    fn shard(&self, work: &Work, run: &Path, shard: &str) -> Result<CommandStatus> {
        let Work { global, out, .. } = *work;
        let shard: ShardNumber = shard.parse()?;
        if out.exists() && !out.is_dir() {
            return Err(Error::file(out, "is a file; shards go into a folder"));
        }
        let place = Place::file(global, &out.join(shard.file()), true)?;
        let model = FirstStageModel::load(&global.gpu()?, run)?;
        let options = self.options(&model)?;
        let set = open(run, &model, self.data.as_deref())?;
        let source = shard_source(&model, options, &set)?;
        if let Some(done) = work.done(shard, &source)? {
            work.tell(&done, true);
            return Ok(CommandStatus::Done);
        }
        let staged = place.staged()?;
        let said = "the same command makes the shard anew";
        let made = watched(global, said, |progress| {
            encode_shard(&model, &source, &set, shard, staged.path(), progress)
        })?;
        let Some(made) = made else {
            return Ok(CommandStatus::Abandoned);
        };
        staged.put(&[])?;
        work.tell(&made, false);
        Ok(CommandStatus::Done)
    }
}

/// Where something is written.
struct Work<'a> {
    global: &'a Global,
    out: &'a Path,
    overwrite: bool,
}

impl Work<'_> {
    /// The manifest of a shard that is there and whole; `None` where it is to be made.
    ///
    /// # Errors
    /// If it was made of something else and may not be replaced, or others in the folder were.
    fn done(&self, shard: ShardNumber, source: &ShardSource) -> Result<Option<ShardManifest>> {
        let mut own = None;
        for (name, found) in ShardManifest::all(self.out)? {
            let path = self.out.join(&name);
            if found.shard.of() != shard.of() {
                let what = format!(
                    "is shard {}, and {shard} is asked for: a folder holds the shards of one \
                     division; name another",
                    found.shard
                );
                return Err(Error::file(path, what));
            }
            match source.difference(&found.source) {
                Some(what) if !self.overwrite => {
                    let what = format!(
                        "was not made of this: {what}; name another folder, or make all shards \
                         again with --overwrite"
                    );
                    return Err(Error::file(path, what));
                }
                None if found.shard == shard => own = Some(found),
                _ => {}
            }
        }
        let Some(found) = own else {
            return Ok(None);
        };
        match found.damage(self.out)? {
            None => Ok(Some(found)),
            Some(what) => {
                let path = self.out.join(&found.file);
                let text = format!("{} {what}; it is made again", path.display());
                output::note(self.global, &text);
                Ok(None)
            }
        }
    }

    fn tell(&self, made: &ShardManifest, skipped: bool) {
        let (path, images) = (self.out.join(&made.file), made.rows[1] - made.rows[0]);
        if self.global.json {
            let line = serde_json::json!({
                "shard": made.shard.number(), "of": made.shard.of(),
                "codes": output::shown(&path), "images": images, "skipped": skipped,
            });
            return output::result(&line.to_string());
        }
        let done = if skipped { ", which were there" } else { "" };
        output::result(&format!(
            "{}: shard {}, {images} images{done}",
            path.display(),
            made.shard
        ));
    }

    fn tokens_place(&self) -> Result<Place> {
        let place = Place::folder(self.global, self.out)?;
        if Tokens::exist(self.out) && !self.overwrite {
            let what = "holds tokens already; --overwrite replaces them";
            return Err(Error::file(self.out, what));
        }
        Ok(place)
    }

    /// Makes a token set beside what is there, and puts it in its place.
    fn write_tokens(
        &self,
        place: &Place,
        make: &mut dyn FnMut(&Path, &mut Progress) -> Result<Tokens>,
    ) -> Result<CommandStatus> {
        let staged = place.staged()?;
        let made = watched(self.global, "nothing was written", |progress| {
            make(staged.path(), progress)
        })?;
        let Some(made) = made else {
            return Ok(CommandStatus::Abandoned);
        };
        staged.put(&Tokens::files(self.out)?)?;
        let (train, test) = (made.train.len(), made.test.len());
        if self.global.json {
            let line = serde_json::json!({
                "tokens": output::shown(self.out), "train": train, "test": test,
            });
            output::result(&line.to_string());
        } else {
            output::result(&format!(
                "{}: tokens of {train} images to train on, {test} held out",
                self.out.display()
            ));
        }
        Ok(CommandStatus::Done)
    }

    fn join(&self, shards: &Shards) -> Result<CommandStatus> {
        tell_adapters(self.global, shards);
        let place = self.tokens_place()?;
        self.write_tokens(&place, &mut |folder, progress| {
            join_tokens(shards, folder, progress)
        })
    }
}

/// Runs some work with a bar; `None` if it was stopped, of which `said` says what it means.
fn watched<T>(
    global: &Global,
    said: &str,
    work: impl FnOnce(&mut Progress) -> Result<T>,
) -> Result<Option<T>> {
    let (mut bar, stop) = (Bar::new(global, "images"), stop_flag());
    let done = work(&mut |done, all| {
        bar.show(done, all);
        match stop.load(Ordering::Relaxed) {
            true => Err(Error::data("interrupted")),
            false => Ok(()),
        }
    });
    bar.finish();
    if done.is_err() && stop.load(Ordering::Relaxed) {
        output::note(global, &format!("stopped; {said}"));
        return Ok(None);
    }
    done.map(Some)
}

fn tell_adapters(global: &Global, shards: &Shards) {
    let adapters = shards.several_adapters();
    if !adapters.is_empty() {
        output::note(
            global,
            &format!(
                "the shards were made on several adapters ({}): where two codes are as near, they \
                 may not be those of one adapter alone",
                adapters.join(", ")
            ),
        );
    }
}
