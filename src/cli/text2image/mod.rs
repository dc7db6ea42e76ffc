//! `wgvq text2image`: images from texts, in the ways of DALL-E and Parti.

mod evaluate;
mod sample;
mod train;

use super::{CommandStatus, Global};
use crate::cli::common::runs::{Output, Runs};
use clap::{Args, Subcommand};
use std::slice::from_mut;
use wgvq::Result;

#[derive(Args)]
pub struct Text2Image {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Train on captioned images: a first stage, a prior that reads texts, and a contrastive model
    /// that judges
    Train(train::Train),
    /// Draw images of texts
    Sample(sample::Sample),
    /// Measure whether images drawn of captions held out are of what was asked for
    Evaluate(evaluate::Evaluate),
}

impl Text2Image {
    /// Whether several processes may do it together.
    pub fn trains(&self) -> bool {
        matches!(self.action, Action::Train(_))
    }

    /// The runs that it reads.
    pub fn runs(&mut self) -> Option<Runs<'_>> {
        let (paths, output) = match &mut self.action {
            Action::Train(_) => return None,
            Action::Sample(c) => (from_mut(&mut c.run), Output::Elsewhere),
            Action::Evaluate(c) => (from_mut(&mut c.run), Output::by("--out", c.out.as_ref())),
        };
        Some(Runs { paths, output })
    }

    pub fn run(&self, global: &Global) -> Result<CommandStatus> {
        match &self.action {
            Action::Train(c) => c.run(global),
            Action::Sample(c) => c.run(global),
            Action::Evaluate(c) => c.run(global),
        }
    }
}
