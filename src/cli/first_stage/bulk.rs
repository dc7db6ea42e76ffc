//! `wgvq encode` of a whole data set: in one process, in shards, and their joining.

use crate::cli::common::json;
use crate::cli::common::output;
use crate::cli::common::place::Place;
use crate::cli::common::signals::stop_flag;
use crate::cli::common::watched::{NOTHING_WRITTEN, watched};
use crate::cli::first_stage::inspect::open;
use crate::cli::{CommandStatus, Global};
use clap::Args;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use wgvq::codes::shards::{
    self, ShardChoice, ShardForm, ShardManifest, ShardNumber, ShardSource, Shards,
};
use wgvq::codes::tokens::Tokens;
use wgvq::codes::{Codes, LabelKinds, Labels};
use wgvq::data::ImageSet;
use wgvq::inference::tokenize::{
    ShardOptions, encode_shard, encode_whole, join_tokens, shard_labels, shard_source, tokenize,
};
use wgvq::inference::{FirstStageModel, Progress};
use wgvq::parallel::Ranks;
use wgvq::{Error, Result};

/// The options of `wgvq encode` that are about data sets.
#[derive(Args)]
pub struct Bulk {
    /// A whole data set instead of image files: a folder, a file, or a named data set [default with
    /// --shard and --tokens: the run's own]
    #[arg(long, value_name = "DIR|FILE|NAME")]
    pub data: Option<String>,
    /// One part of the data set: the third of seven by 3/7, or by `auto` the one whose number a
    /// Slurm array or MPI has set. By `auto/7` all seven, each by whichever of the processes that
    /// MPI started is free. A file of codes and its manifest go into the folder; a part that is
    /// done is skipped
    #[arg(long, value_name = "I/N|auto|auto/N")]
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

    /// Whether several processes are to share the work.
    pub fn is_handed_out(&self) -> bool {
        let shard = self.shard.as_deref();
        shard.is_some_and(|shard| shard.starts_with("auto/"))
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

    /// Makes what goes into a folder: a shard, of that form, or tokens. `None` where a file of
    /// codes is asked for.
    pub fn run(
        &self,
        global: &Global,
        run: Option<&Path>,
        form: ShardForm,
        out: &Path,
        overwrite: bool,
    ) -> Option<Result<CommandStatus>> {
        let work = Work {
            global,
            form,
            out,
            overwrite,
        };
        match (run, &self.shard, &self.join) {
            (Some(run), Some(shard), _) => Some(self.shard(&work, run, shard)),
            (Some(run), None, _) if self.tokens => Some(self.tokens(&work, run)),
            (_, _, Some(folder)) => match Shards::open(folder) {
                Ok(shards) if matches!(shards.source, ShardSource::Tokens { .. }) => {
                    if form != ShardForm::Safetensors {
                        let what = "the shards hold tokens of a prior, which have one form: leave \
                                    it out";
                        return Some(Err(Error::config("--format", what)));
                    }
                    Some(work.join(&shards))
                }
                Ok(_) => None,
                Err(e) => Some(Err(e)),
            },
            _ => None,
        }
    }

    /// Merges shards of codes, and what is known of their images.
    pub fn joined(&self, global: &Global) -> Result<(Codes, Labels)> {
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
        let codes = watched(global, "images", NOTHING_WRITTEN, |progress| {
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
        let (global, out) = (work.global, work.out);
        let asked: ShardChoice = shard.parse()?;
        if out.exists() && !out.is_dir() {
            return Err(Error::file(out, "is a file; shards go into a folder"));
        }
        let (first, place) = match asked {
            ShardChoice::One(shard) => (shard, Some(work.shard_place(shard)?)),
            ShardChoice::HandedOut(of) => {
                let first = ShardNumber::new(1, of)?;
                // That the folder can be written to is known before the work; the place of each
                // shard is taken in its turn.
                if Ranks::world().rank() == 0 {
                    drop(work.shard_place(first)?);
                }
                (first, None)
            }
        };
        let model = FirstStageModel::load(&global.gpu()?, run)?;
        let options = self.options(&model)?;
        let set = open(run, &model, self.data.as_deref())?;
        let source = shard_source(&model, options, &set)?;
        work.check_shards(first, matches!(asked, ShardChoice::One(_)), &source)?;
        let encoding = Encoding {
            work,
            labels: shard_labels(&source, &set),
            model: &model,
            set: &set,
            source: &source,
        };
        let Some(place) = place else {
            return encoding.hand_out(first.of());
        };
        encoding.shard(first, &place)
    }
}

/// A data set that is encoded in shards.
struct Encoding<'a> {
    work: &'a Work<'a>,
    model: &'a FirstStageModel,
    set: &'a ImageSet,
    source: &'a ShardSource,
    labels: LabelKinds,
}

impl Encoding<'_> {
    /// Makes a shard, unless it is there and whole.
    fn shard(&self, shard: ShardNumber, place: &Place) -> Result<CommandStatus> {
        let Encoding {
            work,
            model,
            set,
            source,
            labels,
        } = self;
        let before = ShardManifest::load(&work.out.join(shard.manifest()))?;
        let before = before.filter(|before| before.shard == shard);
        if let Some(done) = work.done(before.as_ref(), source, labels)? {
            work.tell(done, true);
            return Ok(CommandStatus::Done);
        }
        let staged = place.staged()?;
        let said = "the same command makes the shard anew";
        let (form, path) = (work.form, staged.path());
        let made = watched(work.global, "images", said, |progress| {
            encode_shard(model, source, set, shard, form, path, progress)
        })?;
        let Some(made) = made else {
            return Ok(CommandStatus::Abandoned);
        };
        // In another form it has another name.
        let old = before.map(|before| work.out.join(before.file));
        staged.put(old.filter(|old| old.is_file()).as_slice())?;
        work.tell(&made, false);
        Ok(CommandStatus::Done)
    }

    /// Makes all shards, together with the other processes of this job: each takes the next when
    /// it is free.
    fn hand_out(&self, of: usize) -> Result<CommandStatus> {
        let (work, ranks, stop) = (self.work, Ranks::world(), stop_flag());
        let whole = ranks.hand_out(of, |i| {
            let shard = ShardNumber::new(i + 1, of)?;
            let status = self.shard(shard, &work.shard_place(shard)?)?;
            let stopped = stop.load(Ordering::Relaxed);
            Ok(match status {
                CommandStatus::Done if !stopped => ControlFlow::Continue(()),
                _ => ControlFlow::Break(()),
            })
        })?;
        if !whole {
            return Ok(CommandStatus::Abandoned);
        }
        if ranks.rank() == 0 {
            let text = format!(
                "all {of} shards are there; wgvq encode --join {} -o .. merges them",
                output::shell(work.out)
            );
            output::note(work.global, &text);
        }
        Ok(CommandStatus::Done)
    }
}

/// Where something is written.
struct Work<'a> {
    global: &'a Global,
    /// The form of shards.
    form: ShardForm,
    out: &'a Path,
    overwrite: bool,
}

impl Work<'_> {
    /// Takes the place of a shard, by one name whatever its form.
    fn shard_place(&self, shard: ShardNumber) -> Result<Place> {
        let name = ShardForm::Safetensors.file(shard);
        Place::file(self.global, &self.out.join(name), true)
    }

    /// Checks that the folder has no shards but of the division of `shard`, and of this source and
    /// form.
    ///
    /// # Errors
    /// If one of the folder's shards was made of something else, or in another form, and may not be
    /// replaced.
    fn check_shards(&self, shard: ShardNumber, alone: bool, source: &ShardSource) -> Result<()> {
        for (name, found) in ShardManifest::all(self.out)? {
            let path = self.out.join(&name);
            if found.shard.of() != shard.of() {
                let asked = match alone {
                    true => format!("{shard} is"),
                    false => format!("shards of {} are", shard.of()),
                };
                let what = format!(
                    "is shard {}, and {asked} asked for: a folder holds the shards of one \
                     division; name another",
                    found.shard
                );
                return Err(Error::file(path, what));
            }
            let asked = self.form;
            let difference = source.difference(&found.source).or_else(|| {
                let other = found.form() != asked;
                other.then(|| format!("it is {}, and {asked} is asked for", found.form()))
            });
            if let (Some(what), false) = (difference, self.overwrite) {
                let what = format!(
                    "was not made of this: {what}; name another folder, or make all shards again \
                     with --overwrite"
                );
                return Err(Error::file(path, what));
            }
        }
        Ok(())
    }

    /// Returns the manifest of a shard that is whole, and made of this; `None` where it is to be
    /// made.
    fn done<'b>(
        &self,
        own: Option<&'b ShardManifest>,
        source: &ShardSource,
        labels: &LabelKinds,
    ) -> Result<Option<&'b ShardManifest>> {
        let same = |found: &&ShardManifest| {
            found.form() == self.form && source.difference(&found.source).is_none()
        };
        let Some(found) = own.filter(same) else {
            return Ok(None);
        };
        let lacking = || {
            let what = "has not the classes and texts of its images, as shards of earlier versions";
            (found.labels != *labels).then(|| what.to_owned())
        };
        let Some(what) = found.damage(self.out)?.or_else(lacking) else {
            return Ok(Some(found));
        };
        let path = self.out.join(&found.file);
        let text = format!("{} {what}; it is made again", path.display());
        output::note(self.global, &text);
        Ok(None)
    }

    fn tell(&self, made: &ShardManifest, skipped: bool) {
        let (path, images) = (self.out.join(&made.file), made.rows[1] - made.rows[0]);
        if self.global.json {
            let line = serde_json::json!({
                "shard": made.shard.number(), "of": made.shard.of(),
                "codes": output::shown(&path), "images": images, "skipped": skipped,
            });
            return json::print("encode-shard", &line);
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
        let made = watched(self.global, "images", NOTHING_WRITTEN, |progress| {
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
            json::print("encode-tokens", &line);
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
